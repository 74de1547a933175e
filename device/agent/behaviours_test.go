package agent

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// TestBehaviours: every switch of a profile is listed once, under the name of its field, and the page of the known
// defects has every number.
func TestBehaviours(t *testing.T) {
	listed := map[string]bool{}
	var p Profile
	fields := reflect.TypeOf(p)
	for i := range Behaviours {
		b := &Behaviours[i]
		require.False(t, listed[b.Name], b.Name)
		listed[b.Name] = true
		require.NotEmpty(t, b.What, b.Name)
		require.NotEmpty(t, b.Source, b.Name)
		require.Same(t, b, BehaviourByName(b.Name))
		var named string
		for j := range fields.NumField() {
			if reflect.ValueOf(&p).Elem().Field(j).Addr().Interface() == any(b.field(&p)) {
				named = fields.Field(j).Name
			}
		}
		require.Equal(t, strings.ToLower(named), strings.ToLower(b.Name))
		require.True(t, unicode.IsLower(rune(b.Name[0])))
	}
	switches := 0
	for i := range fields.NumField() {
		if f := fields.Field(i); f.Type.Kind() == reflect.Bool && f.Name != "Task2018" {
			switches++
		}
	}
	require.Len(t, Behaviours, switches)
}

// A profile has no switch on that its generation has no place for; ideal has none at all.
func TestProfiles(t *testing.T) {
	for _, p := range Profiles {
		for i := range Behaviours {
			b := &Behaviours[i]
			if b.On(p) {
				require.True(t, b.In(p), "%s %s", p.Name, b.Name)
				require.NotSame(t, Ideal, p, b.Name)
			}
		}
	}
	require.Empty(t, Ideal.Defects())
	require.Contains(t, Main.Defects(), "C34")
	changed, err := Main.With(map[string]bool{"jobIDSplice": false})
	require.NoError(t, err)
	require.False(t, changed.JobIDSplice)
	require.True(t, Main.JobIDSplice)
	_, err = Main.With(map[string]bool{"jobIdSplice": false})
	require.ErrorIs(t, err, ErrUnknownBehaviour)
	_, err = Main.With(map[string]bool{"asksOnce": true})
	require.ErrorIs(t, err, ErrOtherGeneration)
}

// docs/agent-bugs.md has a row for every switch, with the releases that have it.
func TestPageOfDefects(t *testing.T) {
	page, err := os.ReadFile("../../docs/agent-bugs.md")
	require.NoError(t, err)
	columns := []string{"afr-v1.4.0", "afr-v1.4.2", "ota-v3.0.0", "ota-b36db646", "ota-v3.4.1", "ota-main", "ideal"}
	rows := map[string][]string{}
	for line := range strings.SplitSeq(string(page), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 13 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows[strings.Trim(cells[2], "`")] = cells
		}
	}
	for i := range Behaviours {
		b := &Behaviours[i]
		cells := rows[b.Name]
		require.NotEmpty(t, cells, b.Name)
		if b.ID != "" {
			require.Equal(t, b.ID, cells[1])
		}
		require.Equal(t, b.What, cells[3])
		for n, release := range columns {
			p := ProfileByName(release)
			require.Equal(t, b.In(p) && b.On(p), cells[4+n] == "x", "%s in %s", b.Name, release)
		}
	}
	for _, id := range []string{"C27", "C31"} {
		require.Contains(t, string(page), "| "+id+" |")
	}
}
