package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"time"
)

// WriteJSON writes the result document. Several results make a list.
func WriteJSON(w io.Writer, results []*Result) error {
	for _, r := range results {
		r.Normalize()
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if len(results) == 1 {
		return enc.Encode(results[0])
	}
	return enc.Encode(results)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(r io.Reader) ([]*Result, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var list []*Result
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		err = json.Unmarshal(text, &list)
	} else {
		list = []*Result{{}}
		err = json.Unmarshal(text, list[0])
	}
	if err != nil {
		return nil, err
	}
	for i, one := range list {
		if one == nil || one.Schema != Schema {
			return nil, fmt.Errorf("document %d is not a %s", i+1, Schema)
		}
	}
	return list, nil
}

// The shape of JUnit reports: a testsuite per scenario, a testcase per rule.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Time       string          `xml:"time,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Skipped *junitMessage `xml:"skipped"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes one testsuite per result.
func WriteJUnit(w io.Writer, results []*Result) error {
	var doc junitSuites
	for _, r := range results {
		doc.Suites = append(doc.Suites, junitOf(r))
	}
	for _, s := range doc.Suites {
		doc.Tests += s.Tests
		doc.Failures += s.Failures
		doc.Errors += s.Errors
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitOf(r *Result) junitSuite {
	s := junitSuite{
		Name: r.Scenario, Time: strconv.FormatFloat(r.WallSeconds, 'f', 3, 64),
		Properties: []junitProperty{{"seed", strconv.FormatUint(r.Seed, 10)}, {"verdict", r.Verdict}, {"trace_hash", r.TraceHash}},
	}
	add := func(class, name string, holds bool, expr, actual, severity string) {
		c := junitCase{Name: name, Class: r.Scenario + "." + class}
		switch {
		case holds:
		case severity != "":
			c.Skipped = &junitMessage{Message: severity + ": " + actual}
		default:
			c.Failure = &junitMessage{Message: actual, Text: expr}
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	for _, a := range r.Assertions {
		add(a.Kind, a.Name, a.Holds, a.Expr, a.Actual, a.Severity)
	}
	for _, t := range r.Thresholds {
		add("threshold", t.Metric+" "+t.Expr, t.Holds, t.Expr, t.Actual, "")
	}
	for _, i := range r.Invariants {
		detail := ""
		if len(i.Violations) > 0 {
			v := i.Violations[0]
			detail = fmt.Sprintf("%s at %s: %s", v.Thing, Clock(seconds(v.At)), v.Detail)
		}
		add("invariant", i.ID, detail == "", i.ID, detail, "")
	}
	for _, v := range r.Variants {
		add("variant", v.Name, v.Holds, "expected verdict "+v.Expected, "verdict "+v.Verdict, "")
	}
	// What no rule explains is a case of its own: an error, an interruption, an inconclusive run.
	if ExitStatus(r.Verdict) != 0 && s.Failures == 0 {
		s.Errors++
		s.Cases = append(s.Cases, junitCase{Name: "run", Class: r.Scenario, Error: &junitMessage{Message: r.Verdict + " " + r.Error}})
	}
	s.Tests = len(s.Cases)
	return s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// WriteCSV writes the numbers of the results, one a row: scenario, seed, name, value. Names are the paths in the result
// document: fleet.on_version.1.1.0.
func WriteCSV(w io.Writer, results []*Result) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"scenario", "seed", "name", "value"}); err != nil {
		return err
	}
	for _, r := range results {
		r.Normalize()
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		var doc map[string]any
		if err := json.Unmarshal(text, &doc); err != nil {
			return err
		}
		if err := flatten(out, r, "", doc); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func flatten(out *csv.Writer, r *Result, path string, v any) error {
	row := func(value string) error {
		return out.Write([]string{r.Scenario, strconv.FormatUint(r.Seed, 10), path, value})
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if err := flatten(out, r, join(path, k), v[k]); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			name := strconv.Itoa(i)
			if m, ok := item.(map[string]any); ok {
				for _, key := range []string{"name", "id"} {
					if s, ok := m[key].(string); ok && s != "" {
						name = s
					}
				}
			}
			if err := flatten(out, r, join(path, name), item); err != nil {
				return err
			}
		}
	case float64:
		return row(strconv.FormatFloat(v, 'f', -1, 64))
	case bool:
		return row(strconv.FormatBool(v))
	case string:
		return row(v)
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
