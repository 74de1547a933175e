package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/otasim/otasim/device/agent"
)

// explainAgents lists the releases of the OTA agent and every behaviour that a scenario can switch.
func explainAgents(w io.Writer) {
	fmt.Fprint(w, "agents    releases of the OTA agent (key agent)\n\n")
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range agent.Profiles {
		known := "no known defect"
		if ids := p.Defects(); ids != "" {
			known = "known defects " + ids
		}
		fmt.Fprintf(columns, "  %s\t%s\n", p.Name, known)
	}
	_ = columns.Flush() // w is a terminal or a buffer
	fmt.Fprint(w, "\nbehaviours that agentDefects switches; in brackets the number of a known defect, then the releases that have it\n\n")
	for i := range agent.Behaviours {
		b := &agent.Behaviours[i]
		name := b.Name
		if b.ID != "" {
			name += " (" + b.ID + ")"
		}
		in := strings.Join(b.Releases(), ", ")
		if in == "" {
			in = "no release"
		}
		fmt.Fprintf(w, "  %s: %s\n      %s\n      source: %s\n", name, b.What, in, b.Source)
	}
}
