package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/otasim/otasim/sim/scenario"
)

// explainPlanted lists the wrong implementations that a scenario can plant.
func explainPlanted(w io.Writer, asJSON bool) error {
	type row struct {
		Name  string `json:"name"`
		What  string `json:"what"`
		Where string `json:"where"`
	}
	var rows []row
	for _, r := range scenario.PlantedNames() {
		rows = append(rows, row{r[0], r[1], r[2]})
	}
	if asJSON {
		return writeJSON(w, rows)
	}
	fmt.Fprint(w, "plantedDefects    wrong implementations, to show what a defence is worth; none is in any release\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", r.Name, r.What, r.Where)
	}
	return t.Flush()
}
