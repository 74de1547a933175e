package plan

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/otasim/otasim/sim/report"
)

// Schema is the version of the JSON document.
const Schema = "otasim.plan/1"

// Columns are the metrics a table shows: objectives, then what constraints ask for.
func (j *Judgement) Columns() []*Metric {
	out := slices.Clone(j.Plan.Minimize)
	for i := range j.Plan.Constraints {
		if m := j.Plan.Constraints[i].Metric; !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// Cell is a metric of a row as tables show it.
func (j *Judgement) Cell(r *Row, m *Metric) string {
	if len(r.Runs) == 0 {
		return "-"
	}
	return j.spread(r, m)
}

// Remark says what is special about a row.
func (j *Judgement) Remark(r *Row) string {
	switch {
	case r == j.Best:
		return "best"
	case len(r.Runs) == 0:
		return "not run"
	case len(r.Broken) > 0:
		return "breaks " + strings.Join(r.Broken, ", ")
	case r.Pareto:
		return "on the front"
	}
	return ""
}

// WriteTable writes the rows and the recommendation for a terminal. At most limit rows
// are shown, 0: all; the best and the front are always among them.
func (j *Judgement) WriteTable(w io.Writer, limit int) {
	head := []string{"#"}
	for i := range j.Plan.Parameters {
		head = append(head, j.Plan.Parameters[i].Name)
	}
	columns := j.Columns()
	for _, m := range columns {
		head = append(head, m.Name)
	}
	table := [][]string{append(head, "")}
	left := 0
	for _, r := range j.Rows {
		if limit > 0 && len(table) > limit && r != j.Best && !r.Pareto {
			left++
			continue
		}
		line := []string{strconv.Itoa(r.Number)}
		for k, c := range r.Point.Choice {
			line = append(line, j.Plan.Parameters[k].Labels[c])
		}
		for _, m := range columns {
			line = append(line, j.Cell(r, m))
		}
		table = append(table, append(line, j.Remark(r)))
	}
	width := make([]int, len(head)+1)
	for _, line := range table {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range table {
		var b strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == len(line)-1 {
				b.WriteString("  " + cell)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	if left > 0 {
		fmt.Fprintf(w, "  ... and %d rows more: --out csv=FILE has all of them\n", left)
	}
	fmt.Fprintln(w)
	for _, s := range j.Text {
		fmt.Fprintf(w, "  %s\n", s)
	}
}

// WriteCSV writes a line a row, with median and 5th and 95th percentile of every
// metric; a time that never came is empty.
func (j *Judgement) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	head := []string{"row"}
	for i := range j.Plan.Parameters {
		head = append(head, j.Plan.Parameters[i].Name)
	}
	head = append(head, "runs", "keeps_constraints", "pareto", "best")
	head = append(head, "tightest_quota", "quota_peak", "quota_limit", "quota_throttled")
	for i := range Metrics {
		head = append(head, Metrics[i].Name, Metrics[i].Name+"_p5", Metrics[i].Name+"_p95")
	}
	if err := out.Write(head); err != nil {
		return err
	}
	for _, r := range j.Rows {
		line := []string{strconv.Itoa(r.Number)}
		for k, c := range r.Point.Choice {
			line = append(line, j.Plan.Parameters[k].Labels[c])
		}
		line = append(line, strconv.Itoa(len(r.Runs)), strconv.FormatBool(r.Keeps()), strconv.FormatBool(r.Pareto), strconv.FormatBool(r == j.Best))
		q := []string{"", "", "", ""}
		if u := r.Quota(); u != nil {
			q[0], q[1], q[3] = u.Name, strconv.FormatInt(u.Peak, 10), strconv.FormatUint(u.Throttled, 10)
			if u.Limit != nil {
				q[2] = strconv.FormatInt(*u.Limit, 10)
			}
		}
		line = append(line, q...)
		for i := range Metrics {
			s := r.Spreads[Metrics[i].Name]
			for _, v := range []float64{s.P50, s.P5, s.P95} {
				if math.IsInf(v, 0) || math.IsNaN(v) {
					line = append(line, "")
				} else {
					line = append(line, strconv.FormatFloat(v, 'f', -1, 64))
				}
			}
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// WriteJSONLines writes every run, ordered by row and seed.
func (j *Judgement) WriteJSONLines(w io.Writer) error {
	enc := json.NewEncoder(w)
	for _, r := range j.Rows {
		for _, run := range r.Runs {
			if err := enc.Encode(run); err != nil {
				return err
			}
		}
	}
	return nil
}

// Document is the JSON form of a judgement. A value that never came is null.
type Document struct {
	Schema         string     `json:"schema"`
	Plan           string     `json:"plan"`
	Parameters     []string   `json:"parameters"`
	Seeds          int        `json:"seeds"`
	Missing        int        `json:"missing_runs"`
	Best           *int       `json:"best"` // number of a row
	Recommendation []string   `json:"recommendation"`
	Rows           []JSONRow  `json:"rows"`
	Knees          []JSONKnee `json:"knees"`
}

// JSONRow is a row of Document.
type JSONRow struct {
	Number  int                   `json:"number"`
	Values  map[string]string     `json:"values"` // by parameter
	Runs    int                   `json:"runs"`
	Keeps   bool                  `json:"keeps_constraints"`
	Broken  []string              `json:"broken"`
	Pareto  bool                  `json:"pareto"`
	Quota   *report.Quota         `json:"tightest_quota"`
	Metrics map[string][]*float64 `json:"metrics"` // 5th, 50th and 95th percentile
}

// JSONKnee is where a parameter stops paying.
type JSONKnee struct {
	Parameter string `json:"parameter"`
	Value     string `json:"value"`
	Row       int    `json:"row"`
	Metric    string `json:"metric"`
}

// Document makes the JSON form.
func (j *Judgement) Document() Document {
	d := Document{Schema: Schema, Plan: j.Plan.Name, Seeds: j.Plan.Seeds, Missing: j.Missing, Recommendation: j.Text, Rows: []JSONRow{}, Knees: []JSONKnee{}}
	for i := range j.Plan.Parameters {
		d.Parameters = append(d.Parameters, j.Plan.Parameters[i].Name)
	}
	if j.Best != nil {
		d.Best = &j.Best.Number
	}
	for _, r := range j.Rows {
		row := JSONRow{Number: r.Number, Values: map[string]string{}, Runs: len(r.Runs), Keeps: r.Keeps(), Broken: append([]string{}, r.Broken...), Pareto: r.Pareto, Quota: r.Quota(), Metrics: map[string][]*float64{}}
		for k, c := range r.Point.Choice {
			row.Values[j.Plan.Parameters[k].Name] = j.Plan.Parameters[k].Labels[c]
		}
		for name, s := range r.Spreads {
			row.Metrics[name] = []*float64{finite(s.P5), finite(s.P50), finite(s.P95)}
		}
		d.Rows = append(d.Rows, row)
	}
	for i := range j.Responses {
		if r := &j.Responses[i]; r.Knee >= 0 {
			_, value, _ := strings.Cut(label(j.Plan, r.Parameter, r.Rows[r.Knee]), "=")
			d.Knees = append(d.Knees, JSONKnee{r.Parameter.Name, value, r.Rows[r.Knee].Number, r.Metric.Name})
		}
	}
	return d
}

func finite(v float64) *float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	return &v
}
