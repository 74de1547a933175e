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
	"github.com/otasim/otasim/sim/cost"
)

// tables are what explain lists besides the keys of a scenario.
var tables = map[string]func(w io.Writer, asJSON bool) error{"quotas": explainQuotas, "switches": explainSwitches, "prices": explainPrices, "planted": explainPlanted}

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

func explainPrices(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, cost.Tables)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, table := range cost.Tables {
		fmt.Fprintf(t, "regions %s*\nNAME\tUSD\tPER\tUNIT\tUP TO\tCONFIRMED\tSOURCE\n", table.Region)
		for _, p := range table.Rows {
			upto, sure := "", "yes"
			if p.Upto > 0 {
				upto = strconv.FormatFloat(p.Upto, 'f', -1, 64)
			}
			if !p.Sure {
				sure = "no"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s (%s)\n", p.Name, strconv.FormatFloat(p.USD, 'f', -1, 64), strconv.FormatFloat(p.Per, 'f', -1, 64), p.Unit, upto, sure, p.Source, p.Date)
		}
		fmt.Fprintln(t)
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
