package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/scenario/file"
)

// statuses explains the exit statuses.
var statuses = map[int]string{
	ExitOK:           "Everything passed.",
	ExitInternal:     "A fault of otasim itself, not of the scenario or of the simulated system. Please report it with the scenario file and the seed.",
	ExitUsage:        "A wrong flag or argument, or a --set path that names nothing in the scenario.",
	ExitInvalid:      "A scenario file has mistakes; each was printed with its place. Nothing was run.",
	ExitEnvironment:  "Something around otasim is missing: a port is in use, a file cannot be written, a file exists already, an endpoint or a certificate cannot be used.",
	ExitNothing:      "Nothing was selected: the folder has no scenario file.",
	ExitInconclusive: "--until or --timeout came before the verdict, so what must hold at the end could not be judged. Reaching the scenario's own duration is not this.",
	ExitFailed: "An assertion, an invariant or a threshold failed, or a fault never struck. verdict in the result says which kind:\n" +
		"assertion, threshold, safety (an invariant), liveness.",
	ExitInterrupted: "Ctrl-C. The result is what there was so far.",
	ExitTerminated:  "SIGTERM. The result is what there was so far.",
}

// node is the part of a JSON Schema that explain reads.
type node struct {
	Description          string           `json:"description"`
	Type                 any              `json:"type"`
	Properties           map[string]*node `json:"properties"`
	AdditionalProperties json.RawMessage  `json:"additionalProperties"`
	Items                *node            `json:"items"`
	AnyOf                []*node          `json:"anyOf"`
	Enum                 []any            `json:"enum"`
	Required             []string         `json:"required"`
	Pattern              string           `json:"pattern"`
	Minimum              *json.Number     `json:"minimum"`
	Maximum              *json.Number     `json:"maximum"`
	Examples             []any            `json:"examples"`
}

func (c *command) explainCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain KEY|CODE|agents|planted|quotas|switches|prices",
		Short: "Describe a key of the scenario file, an exit status, the releases of the OTA agent, the defects that can be planted, or the cloud's quotas, switches and prices",
		Example: `  otasim explain fleet.groups.count
  otasim explain faults
  otasim explain agents
  otasim explain quotas
  otasim explain 97`,
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			root, err := loadSchema()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return append(root.keys(), "agents", "planted", "quotas", "switches", "prices"), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("explain: which key or exit status?")
			}
			if list := tables[args[0]]; list != nil {
				return list(c.std.Out, asJSON)
			}
			if asJSON {
				return usage("explain: --json is for quotas, switches and prices")
			}
			if n, err := strconv.Atoi(args[0]); err == nil {
				text, ok := statuses[n]
				if !ok {
					return usage("explain %d: no such exit status; there are %v", n, slices.Sorted(maps.Keys(statuses)))
				}
				fmt.Fprintf(c.std.Out, "exit status %d\n\n%s\n", n, text)
				return nil
			}
			if args[0] == "agents" {
				explainAgents(c.std.Out)
				return nil
			}
			root, err := loadSchema()
			if err != nil {
				return err
			}
			return explain(c.std.Out, root, args[0])
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write quotas, switches or prices as JSON")
	return cmd
}

func loadSchema() (*node, error) {
	text, err := schemas.ReadFile("schema/scenario.json")
	if err != nil {
		return nil, err
	}
	var root node
	return &root, json.Unmarshal(text, &root)
}

// below is what the keys under a node belong to: a list is its items, a mapping with free names what stands under them.
func (n *node) below() *node {
	for {
		switch {
		case n.Items != nil:
			n = n.Items
		case len(n.AnyOf) > 0 && len(n.Properties) == 0:
			n = n.AnyOf[0]
		case len(n.Properties) == 0 && n.values() != nil:
			n = n.values()
		default:
			return n
		}
	}
}

func (n *node) values() *node {
	if len(n.AdditionalProperties) == 0 || n.AdditionalProperties[0] != '{' {
		return nil
	}
	var v node
	if json.Unmarshal(n.AdditionalProperties, &v) != nil {
		return nil
	}
	return &v
}

func (n *node) keys() []string { return slices.Sorted(maps.Keys(n.below().Properties)) }

func explain(w io.Writer, root *node, path string) error {
	n := root
	parts := strings.Split(path, ".")
	for i, word := range parts {
		next, ok := n.below().Properties[word]
		if !ok {
			where := ""
			if i > 0 {
				where = " in " + strings.Join(parts[:i], ".")
			}
			return &exit{status: ExitUsage, text: fmt.Sprintf("explain: no key %q%s", word, where), help: file.DidYouMean(word, n.keys())}
		}
		n = next
	}
	fmt.Fprintf(w, "%s    %s\n\n%s\n", path, n.kind(), n.Description)
	if len(n.Enum) > 0 {
		words := make([]string, len(n.Enum))
		for i, v := range n.Enum {
			words[i] = fmt.Sprint(v)
		}
		fmt.Fprintf(w, "\nvalues: %s\n", strings.Join(words, ", "))
	}
	if n.Minimum != nil || n.Maximum != nil {
		fmt.Fprintf(w, "\nrange: %s to %s\n", orNothing(n.Minimum), orNothing(n.Maximum))
	}
	if len(n.Examples) > 0 {
		fmt.Fprintf(w, "\nfor example: %v\n", n.Examples[0])
	}
	sub := n.below()
	if len(sub.Properties) == 0 {
		return nil
	}
	width := 0
	for _, k := range n.keys() {
		width = max(width, len(k))
	}
	fmt.Fprintf(w, "\nkeys:\n")
	for _, k := range n.keys() {
		needed := ""
		if slices.Contains(sub.Required, k) {
			needed = " (required)"
		}
		fmt.Fprintf(w, "  %-*s  %s%s\n", width, k, sub.Properties[k].Description, needed)
	}
	return nil
}

func orNothing(n *json.Number) string {
	if n == nil {
		return "any"
	}
	return n.String()
}

// kind is the type in words.
func (n *node) kind() string {
	switch t := n.Type.(type) {
	case string:
		switch t {
		case "array":
			return "list"
		case "object":
			return "mapping"
		case "string":
			return "text"
		}
		return t
	case []any:
		var words []string
		for _, w := range t {
			words = append(words, fmt.Sprint(w))
		}
		return strings.Join(words, " or ")
	}
	if len(n.AnyOf) > 0 {
		if n.AnyOf[1].Type != "array" {
			return n.AnyOf[0].kind() + " or " + n.AnyOf[1].kind()
		}
		return "one or a list"
	}
	return ""
}
