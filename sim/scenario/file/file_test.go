package file

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUnits(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour} {
		got, ok := ParseDuration(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "5", "5 parsecs", "-5s", "1e9h", "d", "99999999d", "s"} {
		_, ok := ParseDuration(s)
		require.False(t, ok, s)
	}
	for s, want := range map[string]uint64{"4096": 4096, "4KiB": 4096, "1180 KiB": 1180 << 10, "1.5MiB": 3 << 19, "4MB": 4 << 20, "0x1000": 4096, "12B": 12} {
		got, ok := ParseSize(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "KiB", "4 parsecs", "-4", "99999999999999999999", "0x"} {
		_, ok := ParseSize(s)
		require.False(t, ok, s)
	}
	for s, want := range map[string]uint64{"10%": 100_000, "0.5%": 5_000, "100%": 1_000_000, "0.0001%": 1} {
		got, ok := ParseShare(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"10", "101%", "-1%", "%", "0.00001%"} {
		_, ok := ParseShare(s)
		require.False(t, ok, s)
	}
	for s, want := range map[string]uint64{"8Mbps": 8e6, "400kbps": 4e5, "1.5 Mbps": 15e5, "9600bps": 9600} {
		got, ok := ParseRate(s)
		require.True(t, ok, s)
		require.Equal(t, want, got, s)
	}
	got, ok := ParseDecimal("1.5")
	require.True(t, ok)
	require.EqualValues(t, 1_500_000, got)
}

func TestNearest(t *testing.T) {
	words := []string{"firmware", "fleet", "faults", "at"}
	for word, want := range map[string]string{"frimware": "firmware", "flet": "fleet", "fault": "faults", "xyzzy": "", "Fleet": "fleet", "ta": "at"} {
		require.Equal(t, want, Nearest(word, words), word)
	}
}

const text = `apiVersion: otasim/v1
kind: Scenario
metadata: {name: x}
duration: 1h
firmware:
  - {version: 1.0}
  - {version: 1.0.1, size: 4KiB}
fleet:
  groups:
    - {name: a, count: 1}
    - {name: a.b, count: 2}
networks:
  one: {latency: 1ms}
  mix: [{weight: 50%, latency: 1ms}, {weight: 50%, latency: 2ms}]
`

func parse(t *testing.T, text string) *Node {
	root, ps := Parse(&Source{Name: "x.yaml"}, []byte(text))
	require.Empty(t, ps)
	return root
}

func TestSet(t *testing.T) {
	for path, at := range map[string]func(*Scenario) string{
		"metadata.name":            func(s *Scenario) string { return s.Metadata.Name.Value },
		"firmware.1.0.project":     func(s *Scenario) string { return s.Firmware[0].Project.Value },
		"firmware.1.0.1.project":   func(s *Scenario) string { return s.Firmware[1].Project.Value },
		"firmware.1.project":       func(s *Scenario) string { return s.Firmware[1].Project.Value }, // by number
		"fleet.groups.a.network":   func(s *Scenario) string { return s.Fleet.Groups[0].Network.Value },
		"fleet.groups.a.b.network": func(s *Scenario) string { return s.Fleet.Groups[1].Network.Value },
		"fleet.defaults.agent":     func(s *Scenario) string { return s.Fleet.Defaults.Agent.Value },
		"networks.mix.1.use":       func(s *Scenario) string { return s.Networks[1].Value.List[1].Use.Value },
		"networks.one.use":         func(s *Scenario) string { return s.Networks[0].Value.List[0].Use.Value },
		"cloud.region":             func(s *Scenario) string { return s.Cloud.Region.Value },
	} {
		t.Run(path, func(t *testing.T) {
			root := parse(t, text)
			value, _ := ParseValue(&Source{Name: "--set"}, "changed")
			require.NoError(t, Set(root, path, value))
			var s Scenario
			require.Empty(t, Decode(root, &s))
			require.Equal(t, "changed", at(&s))
		})
	}
	for path, hint := range map[string]string{
		"metadata.nam":            `did you mean "name"`,
		"metadata.name.x":         `nothing can be below "metadata.name"`,
		"firmware.7.project":      `"7" is not known in firmware`,
		"fleet.groups.b.count":    `is not known in fleet.groups`,
		"networks.two.latency":    `is not known in networks`,
		"":                        "is not known",
		"fleet.defaults.flash.xy": `is not known in fleet.defaults.flash`,
	} {
		value, _ := ParseValue(&Source{Name: "--set"}, "changed")
		err := Set(parse(t, text), path, value)
		require.ErrorIs(t, err, ErrPath, path)
		require.ErrorContains(t, err, hint, path)
	}
}

func TestAliasesAndBombs(t *testing.T) {
	root := parse(t, "a: &x [1, 2]\nb: *x\n")
	require.Len(t, root.Get("b").Items, 2)

	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+", ", 9), ", ") + "]\n"
	}
	_, ps := Parse(&Source{Name: "bomb.yaml"}, []byte(bomb))
	require.NotEmpty(t, ps)

	_, ps = Parse(&Source{Name: "deep.yaml"}, []byte(strings.Repeat("[", 500)+strings.Repeat("]", 500)))
	require.NotEmpty(t, ps)
}

func TestPlaces(t *testing.T) {
	root := parse(t, "a: 'x y'\nb: |\n  one\n  two\nä: ö ü\nc: >-\n  one\n  two\n")
	line, col, ok := root.Get("a").Locate(2)
	require.True(t, ok)
	require.Equal(t, [2]int{1, 7}, [2]int{line, col})
	line, col, ok = root.Get("b").Locate(5)
	require.True(t, ok)
	require.Equal(t, [2]int{4, 4}, [2]int{line, col})
	line, col, ok = root.Get("c").Locate(5)
	require.True(t, ok)
	require.Equal(t, [2]int{8, 4}, [2]int{line, col})
	line, col, ok = root.Get("ä").Locate(2)
	require.True(t, ok)
	require.Equal(t, [2]int{5, 6}, [2]int{line, col})
}

// FuzzScenario: whatever the bytes are, they give a tree or problems that have a place in the text, and never a panic.
func FuzzScenario(f *testing.F) {
	f.Add([]byte(text))
	for _, seed := range []string{"", "a: b: c", "- 1\n- 2", "a: &a [*a]", "\t", "{", "a: !!binary x", "<<: {a: 1}", "? [a]\n: b", "a: |\n  x", "---\n---\n", "seed: 0x10\nduration: 1..2"} {
		f.Add([]byte(seed))
	}
	if init, err := os.ReadFile("../../cli/template/first-update.yaml"); err == nil {
		f.Add(init)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &Source{Name: "fuzz.yaml"}
		root, ps := Parse(src, data)
		if root == nil && len(ps) == 0 {
			t.Fatal("neither a tree nor a problem")
		}
		if root != nil {
			var s Scenario
			ps = append(ps, Decode(root, &s)...)
		}
		for _, p := range Sort(ps) {
			if p.Line < 1 || p.Line > len(src.Lines) || p.Col < 1 || p.Width < 1 {
				t.Fatalf("no such place: %s", p)
			}
			p.Write(&strings.Builder{}, true)
		}
	})
}

// FuzzSet: no path and value can break a scenario.
func FuzzSet(f *testing.F) {
	f.Add("firmware.1.0.1.size", "4KiB")
	f.Add("fleet.groups.a.b.otaconfig.FILE_REQUEST_WAIT_MS", "{a: [1]}")
	f.Add("networks.mix.0", "")
	f.Fuzz(func(t *testing.T, path, value string) {
		root, _ := Parse(&Source{Name: "x.yaml"}, []byte(text))
		v, _ := ParseValue(&Source{Name: "--set"}, value)
		if v == nil || Set(root, path, v) != nil {
			return
		}
		var s Scenario
		Decode(root, &s)
	})
}
