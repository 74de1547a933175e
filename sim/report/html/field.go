package html

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/otasim/otasim/sim/calibrate"
)

// FieldPage is what the template of a calibration shows.
type FieldPage struct {
	*calibrate.Field
	Summary, YAML string
	Charts        []drawn
}

// WriteField writes the fits of a calibration as a page.
func WriteField(w io.Writer, f *calibrate.Field) error {
	p := FieldPage{Field: f}
	var text bytes.Buffer
	f.WriteSummary(&text)
	p.Summary = text.String()
	text.Reset()
	f.WriteYAML(&text)
	p.YAML = text.String()
	for _, c := range []Chart{fitted("waits", "Wait of sleepers", "From queued to started, of the executions that started later than a minute.", f.Waits, f.WaitFits),
		fitted("times", "Update time", "From started to succeeded.", f.Times, f.TimeFits)} {
		if len(c.X) == 0 {
			continue
		}
		d, err := c.draw()
		if err != nil {
			return err
		}
		p.Charts = append(p.Charts, d)
	}
	var buf bytes.Buffer // all or nothing
	if err := page.ExecuteTemplate(&buf, "field.html", p); err != nil {
		return err
	}
	_, err := buf.WriteTo(w)
	return err
}

// fitted is the distribution of a sample beside those of its fits.
func fitted(id, title, note string, values []float64, fits []calibrate.Fit) Chart {
	c := Chart{ID: id, Title: title, Note: note, Unit: "per cent of the executions", XUnit: "seconds"}
	if len(fits) == 0 {
		return c
	}
	v := slices.Sorted(slices.Values(values))
	const steps = 200
	sample := Line{Name: "the field", Color: 1}
	lines := make([]Line, min(2, len(fits)))
	for i := range lines {
		lines[i] = Line{Name: fmt.Sprintf("%s (distance %.3f)", fits[i].Name, fits[i].KS), Color: []int{2, 4}[i]}
	}
	top := v[len(v)-1] * 1.02
	for i := range steps + 1 {
		x := top * float64(i) / steps
		n, _ := slices.BinarySearch(v, x)
		c.X = append(c.X, x)
		sample.Y = append(sample.Y, 100*float64(n)/float64(len(v)))
		for k := range lines {
			lines[k].Y = append(lines[k].Y, 100*fits[k].CDF(x))
		}
	}
	c.Series = append([]Line{sample}, lines...)
	c.Table = tableOf(&c)
	return c
}
