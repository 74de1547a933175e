package shadow

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

var at = time.Unix(1_700_000_000, 0)

func anything(string) bool { return true }

func (s *Service) ask(name, op, payload string) (out []string) {
	list, _ := s.Handle(at, "t", name, op, []byte(payload), anything)
	for _, a := range list {
		out = append(out, a.Topic+" "+string(a.Payload))
	}
	return out
}

func TestUpdateGetDelete(t *testing.T) {
	var s Service
	require.Equal(t, []string{`get/rejected {"clientToken":"x","code":404,"message":"No shadow exists with name: 't'","timestamp":1700000000}`}, s.ask("", "get", `{"clientToken":"x"}`))
	require.Equal(t, []string{
		`update/accepted {"clientToken":"a","metadata":{"reported":{"fw":{"v":{"timestamp":1700000000}},"list":[{"timestamp":1700000000},{"timestamp":1700000000}]}},"state":{"reported":{"fw":{"v":"1.0"},"list":[1,2]}},"timestamp":1700000000,"version":1}`,
		`update/documents {"clientToken":"a","current":{"metadata":{"reported":{"fw":{"v":{"timestamp":1700000000}},"list":[{"timestamp":1700000000},{"timestamp":1700000000}]}},"state":{"reported":{"fw":{"v":"1.0"},"list":[1,2]}},"version":1},"previous":{"metadata":{},"state":{},"version":0},"timestamp":1700000000}`,
	}, s.ask("", "update", `{"state":{"reported":{"fw":{"v":"1.0"},"list":[1,2]}},"clientToken":"a"}`))
	out := s.ask("", "update", `{"state":{"desired":{"fw":{"v":"2.0"},"led":true},"reported":{"list":null}},"version":1}`)
	require.Len(t, out, 3)
	require.Equal(t, `update/delta {"metadata":{"fw":{"v":{"timestamp":1700000000}},"led":{"timestamp":1700000000}},"state":{"fw":{"v":"2.0"},"led":true},"timestamp":1700000000,"version":2}`, out[1])
	require.Equal(t, []string{`get/accepted {"metadata":{"desired":{"fw":{"v":{"timestamp":1700000000}},"led":{"timestamp":1700000000}},"reported":{"fw":{"v":{"timestamp":1700000000}}}},` +
		`"state":{"delta":{"fw":{"v":"2.0"},"led":true},"desired":{"fw":{"v":"2.0"},"led":true},"reported":{"fw":{"v":"1.0"}}},"timestamp":1700000000,"version":2}`}, s.ask("", "get", ""))
	require.Contains(t, s.ask("", "update", `{"state":{"reported":{"led":1}},"version":1}`)[0], `"code":409,"message":"Version conflict"`)
	require.Len(t, s.ask("", "update", `{"state":{"reported":{"fw":{"v":"2.0"},"led":true}}}`), 2, "no delta is left")
	require.Equal(t, []string{`delete/accepted {"timestamp":1700000000,"version":3}`}, s.ask("", "delete", "{}"))
	require.Contains(t, s.ask("", "delete", "")[0], `"code":404`)
	require.Contains(t, s.ask("", "update", `{"state":{"desired":null}}`)[0], `"version":4`, "versions go on after a deletion")
}

func TestNamedShadows(t *testing.T) {
	var s Service
	s.ask("b", "update", `{"state":{"reported":{"v":1}}}`)
	s.ask("a", "update", `{"state":{"reported":{"v":2}}}`)
	s.ask("", "update", `{"state":{"reported":{"v":3,"a.b":{"c":"dotted"},"l":[1,{"x":"in a list"}]},"desired":{"v":4}}}`)
	require.Equal(t, []string{"a", "b"}, s.Names("t"))
	for field, want := range map[string][]string{
		"shadow.reported.v": {"3"}, "shadow.desired.v": {"4"}, "shadow.delta.v": {"4"}, "shadow.hasDelta": {"true"}, "shadow.name.a.reported.v": {"2"}, "shadow.name.b.reported.v": nil,
		"shadow.reported.a.b.c": {"dotted"}, "shadow.reported.l": {"1", "in a list"}, "shadow.reported.absent": nil, "shadow.other": nil, "attributes.x": nil, "": {"4", "dotted", "1", "in a list", "3", "2"},
	} {
		var got []string
		s.Values("t", field, func(name string) bool { return name == "a" }, func(v string) bool { got = append(got, v); return true })
		require.Equal(t, want, got, field)
	}
	require.JSONEq(t, `{"reported":{"v":1},"metadata":{"reported":{"v":{"timestamp":1700000000}}},"version":1,"hasDelta":false}`,
		strings.TrimSuffix(strings.SplitN(s.Indexed("t", anything), `"b":`, 2)[1][:len(`{"hasDelta":false,"metadata":{"reported":{"v":{"timestamp":1700000000}}},"reported":{"v":1},"version":1}`)], ","))
	require.Empty(t, s.Indexed("other", anything))
}

func TestRejections(t *testing.T) {
	for payload, want := range map[string]string{
		"":                             "Invalid JSON",
		"{":                            "Invalid JSON",
		"{} {}":                        "Invalid JSON",
		"[]":                           "Missing required node: state",
		"{}":                           "Missing required node: state",
		`{"state":1}`:                  "State node must be an object",
		`{"state":{"desired":1}}`:      "Desired node must be an object",
		`{"state":{"reported":[]}}`:    "Reported node must be an object",
		`{"state":{"other":{}}}`:       "State contains an invalid node",
		`{"state":{},"version":"1"}`:   "Invalid version",
		`{"state":{},"version":1.5}`:   "Invalid version",
		`{"state":{},"clientToken":1}`: "Invalid clientToken",
		`{"state":{},"clientToken":"` + strings.Repeat("x", 65) + `"}`:                     "Invalid clientToken",
		`{"state":{"desired":` + strings.Repeat(`{"a":`, 7) + "1" + strings.Repeat("}", 9): "JSON contains too many levels of nesting; maximum is 6",
		`{"state":{"desired":{"a":"` + strings.Repeat("x", MaxDocument) + `"}}}`:           "The payload exceeds the maximum size allowed",
		"\xff": "Unsupported documented encoding; supported encoding is UTF-8",
	} {
		var s Service
		out := s.ask("", "update", payload)
		require.Len(t, out, 1)
		require.Contains(t, out[0], "update/rejected", payload)
		require.Contains(t, out[0], `"message":"`+want+`"`, payload)
		require.Empty(t, s.things)
	}
	var s Service
	_, _, err := s.Request(at, "bad name", "", "get", nil)
	require.ErrorIs(t, err, aws.InvalidRequest)
	_, _, err = s.Request(at, "t", "bad name", "get", nil)
	require.ErrorIs(t, err, aws.InvalidRequest)
	_, _, err = s.Request(at, "t", "n", "get", nil)
	require.ErrorIs(t, err, aws.ResourceNotFound)
	_, _, err = s.Request(at, "t", "n", "update", []byte(`{"state":{},"version":7}`))
	require.ErrorIs(t, err, aws.Conflict)
	_, _, err = s.Request(at, "t", "n", "update", []byte(`{"state":{"desired":{"a":"`+strings.Repeat("x", MaxDocument)+`"}}}`))
	require.ErrorIs(t, err, aws.TooLarge)
}

func FuzzShadow(f *testing.F) {
	f.Add(`{"state":{"desired":{"a":1},"reported":{"a":null}},"version":1}`, `{"state":{"desired":{"a":{"b":[]}}},"clientToken":"x"}`, "shadow.desired.a.b")
	f.Add(`{"state":{"desired":{"timestamp":1}}}`, `{"state":{"desired":{"timestamp":{"timestamp":{}}}}}`, "")
	f.Fuzz(func(t *testing.T, first, second, field string) {
		var s Service
		for _, payload := range []string{first, second} {
			out, changed := s.Handle(at, "t", "", "update", []byte(payload), anything)
			if changed != strings.HasSuffix(out[0].Topic, "/accepted") {
				t.Fatalf("%q: changed %v, %s", payload, changed, out[0].Topic)
			}
		}
		s.Values("t", field, anything, anything)
		if d := s.things["t"][""]; d != nil {
			if delta, _ := d.delta(); len(delta) > 0 {
				// Reporting all that is desired leaves nothing to do.
				s.Handle(at, "t", "", "update", encode(tree{"state": tree{"reported": nil}}), anything)
				s.Handle(at, "t", "", "update", encode(tree{"state": tree{"reported": d.desired}}), anything)
				if left, _ := s.things["t"][""].delta(); len(left) > 0 && len(encode(d.desired)) < MaxDocument/2 {
					t.Fatalf("delta %s", encode(left))
				}
			}
		}
	})
}
