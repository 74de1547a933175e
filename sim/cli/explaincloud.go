package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/quota"
)

// tables are what explain lists besides the keys of a scenario.
var tables = map[string]func(w io.Writer, asJSON bool) error{"quotas": explainQuotas, "switches": explainSwitches}

func explainQuotas(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, quota.Rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "NAME\tDEFAULT\tSETTABLE\tUNIT\tSOURCE\n")
	for _, r := range quota.Rows {
		settable := "yes"
		if r.Fixed {
			settable = "no"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s (%s)\n", r.Name, strconv.FormatInt(r.Value, 10), settable, r.Unit, r.Source, r.Date)
	}
	return t.Flush()
}

func explainSwitches(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, cloud.SwitchTable)
	}
	for i := range cloud.SwitchTable {
		s := &cloud.SwitchTable[i]
		fmt.Fprintf(w, "%s: %s (default %s)\n    %s\n    %s\n", s.Name, strings.Join(s.Choices, ", "), s.Default(), s.Question, s.Source)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
