package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// A dynamic thing group is a target: who matches its query later joins a CONTINUOUS job, who has left does not get it.
func TestDynamicGroup(t *testing.T) {
	sc := load(t, "dynamic-group", scenario.Options{})
	one := run(t, sc, Options{Workers: 1})
	require.Equal(t, report.VerdictPass, one.Verdict, "%+v", one.Assertions)
	require.Equal(t, one.TraceHash, run(t, sc, Options{Workers: 2, parallel: true}).TraceHash)
	snapshot := run(t, load(t, "dynamic-group", scenario.Options{Sets: []string{"updates.fw.targetSelection=SNAPSHOT"}}), Options{Workers: 1})
	require.Equal(t, 11, snapshot.Jobs[0].Succeeded, "those that were in the group at 5m")
}

func TestDynamicGroupMistakes(t *testing.T) {
	for set, want := range map[string]string{
		`fleet.dynamicGroups.lab-v2.query="attributes.site:("`:           "query",
		"fleet.dynamicGroups.lab-v2.name=field":                          `group "field" is defined twice`,
		"updates.fw.targets=[lab-v3]":                                    `unknown group or thing "lab-v3"`,
		"fleet.groups.lab.attributes={a: x, b: x, c: x, d: x}":           "at most 3 attributes",
		"events.0.updateThing.things=[esp32-nobody-00001]":               "esp32-nobody-00001",
		`fleet.groups.lab.attributes={"not a name": x}`:                  "the name of an attribute",
		"fleet.dynamicGroups=[{name: d, query: x}, {name: d, query: x}]": "twice",
	} {
		_, problems, err := scenario.Load("../scenarios/dynamic-group.yaml", scenario.Options{Sets: []string{set}})
		require.NoError(t, err, set)
		require.NotEmpty(t, problems, set)
		text := ""
		for _, p := range problems {
			text += p.String() + "\n"
		}
		require.Contains(t, text, want, set)
	}
}
