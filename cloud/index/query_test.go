package index

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func document(fields map[string][]string) Document {
	return func(field string, visit func(string) bool) {
		if field != "" {
			for _, v := range fields[field] {
				if !visit(v) {
					return
				}
			}
			return
		}
		for _, list := range fields { // the order does not matter to a query
			for _, v := range list {
				if !visit(v) {
					return
				}
			}
		}
	}
}

var thing = document(map[string][]string{
	"thingName":                  {"tv-17"},
	"thingTypeName":              {"Television"},
	"thingGroupNames":            {"home", "living"},
	"attributes.hwrev":           {"B"},
	"attributes.model":           {"wide screen 1000"},
	"shadow.reported.version":    {"1.9.0"},
	"shadow.reported.stats.load": {"70"},
	"shadow.reported.cold":       {"-5"},
	"shadow.hasDelta":            {"false"},
})

func TestQueries(t *testing.T) {
	for text, want := range map[string]bool{
		"*":                                    true,
		"thingName:*":                          true,
		"thingName:tv-17":                      true,
		"thingName:TV-17":                      true,
		"thingname:tv-17":                      false,
		"thingName:tv*":                        true,
		"thingName:t?-17":                      true,
		"thingName:*17":                        true,
		"thingName:tv":                         false,
		"tv-17":                                true,
		"television":                           true,
		"plasma":                               false,
		"thingName:(tv* AND -plasma)":          true,
		"thingName:(tv* AND NOT tv-17)":        false,
		"thingName:(radio OR tv*)":             true,
		"attributes.hwrev:B":                   true,
		"attributes.hwrev:b attributes.x:y":    false,
		"attributes.hwrev:b OR attributes.x:y": true,
		"attributes.x:y OR attributes.hwrev:b AND thingName:tv*":     true,
		"(attributes.x:y OR attributes.hwrev:b) AND thingName:radio": false,
		"attributes.x:*":                        false,
		"NOT attributes.x:*":                    true,
		"-attributes.x:*":                       true,
		"NOT NOT attributes.hwrev:B":            true,
		"attributes.model:screen":               true,
		"attributes.model:scr":                  false,
		`attributes.model:"wide screen"`:        true,
		`attributes.model:"screen wide"`:        false,
		"thingGroupNames:living":                true,
		"thingGroupNames:(home AND living)":     true,
		"shadow.reported.version:1.9.0":         true,
		"shadow.reported.version<2":             true,
		"shadow.reported.version < 1.9.0":       false,
		"shadow.reported.version<=1.9.0":        true,
		"shadow.reported.version:[1 TO 2]":      true,
		"shadow.reported.stats.load>9":          true,
		"shadow.reported.stats.load>=70":        true,
		"shadow.reported.stats.load:>70":        false,
		"shadow.reported.stats.load:[70 TO 80]": true,
		"shadow.reported.stats.load:{70 TO 80]": false,
		"shadow.reported.stats.load:[60 TO 70}": false,
		"shadow.reported.stats.load:[* TO 70]":  true,
		"shadow.reported.stats.load:[71 TO *]":  false,
		"shadow.reported.cold:-5":               true,
		"shadow.reported.cold<-4":               true,
		"shadow.hasDelta:false":                 true,
		`thingName:tv\-17`:                      true,
		`thingName:tv\*`:                        false,
		"AND1":                                  false,
	} {
		q, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, q.Match(thing), text)
	}
}

func TestInvalidQueries(t *testing.T) {
	for _, text := range []string{"", " ", "AND", "a AND", "a OR", "OR a", "NOT", "(a", "a)", "a:", ":a", "a:b:c", "a*:b", "a:(b:c)", `"a`, `a\`, "a:[1 TO", "a:[1 2]",
		"a:[1 TO 2)", "a>", "a@b", "a/b", "a,b", "a#b", "*a AND *b", "*" + strings.Repeat("a", 100), strings.Repeat("a ", 13), strings.Repeat("a", 1001), "\xff", "()"} {
		_, err := Parse(text)
		require.ErrorIs(t, err, ErrQuery, "%q", text)
	}
	_, err := Parse("thingName:a AND (b")
	require.ErrorContains(t, err, "at character 19: end of the query, want \")\"")
	_, err = Parse(strings.Repeat("a ", 12))
	require.NoError(t, err)
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"thingName:(tv* AND -plasma)", `a:"b c" OR NOT d>=5`, "a:[1 TO *} b", `\`, "((((", "a:-5 -b", "*?*?*x"} {
		f.Add(s, "some value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		q, err := Parse(text)
		if err != nil {
			return
		}
		d := document(map[string][]string{"a": {value}, "attributes.b": {value, text}})
		if inverse, err := Parse("NOT (" + text + ")"); err == nil && inverse.Match(d) == q.Match(d) {
			t.Fatalf("%q and its negation agree on %q", text, value)
		}
	})
}
