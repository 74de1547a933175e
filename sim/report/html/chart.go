package html

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The sizes of a chart, in points; the page shows the one that fits and scales it.
var (
	wide   = size{760, 270}
	narrow = size{380, 240}
)

type size struct{ width, height vg.Length }

// A Chart is one picture of numbers over numbers.
type Chart struct {
	ID     string // of the element, to link to
	Title  string
	Note   string // a sentence under the title
	Unit   string // of y, for axis and tooltip
	XUnit  string // of x; "" is virtual time in seconds
	Kind   Kind
	X      []float64
	Series []Line
	Marks  []Mark // vertical lines
	Limits []Limit
	Names  []string // Bars and Ranks: what stands at each bar, in place of X
	LogX   bool     // Points and Lines
	Sum    bool     // Ranks: the series of a bar behind each other instead of below
	Table  *Table   // the same numbers to read
}

// Kind says how series are drawn.
type Kind int

// Kinds of charts.
const (
	Lines   Kind = iota // a line a series, with its band if it has one
	Stacked             // areas on top of each other
	Bars                // a bar per value, the series beside each other
	Points              // a dot per value
	Ranks               // lying bars, one below the other
)

// A Line is one series.
type Line struct {
	Name   string
	Color  int // of the palette
	Y      []float64
	X      []float64 // Points: its own x values
	Lo, Hi []float64 // Lines: a band around it
	Labels []string  // Points: what a dot is
	Joined bool      // Points: a line through the dots
}

// A Mark is a moment with a name; a Limit is a value with one.
type (
	Mark struct {
		X    float64 `json:"x"`
		Text string  `json:"text"`
	}
	Limit struct {
		Y    float64
		Text string
	}
)

// A Table is numbers to read. The first row is the head.
type Table struct{ Rows [][]string }

// Colours are written as marked values and replaced by the page's variables, so that
// one picture serves light and dark.
var (
	ink  = color.RGBA{0x0b, 0, 0, 0xff}
	grid = color.RGBA{0x0b, 0, 1, 0xff}
	mark = color.RGBA{0x0b, 0, 2, 0xff}
)

const (
	palette = 12
	bands   = 0x40
)

func hue(i int) color.RGBA { return color.RGBA{0x0a, 0, uint8(i % palette), 0xff} }

var recolour = func() *strings.Replacer {
	pairs := []string{"#0B0000", "var(--ink)", "#0B0001", "var(--grid)", "#0B0002", "var(--mark)",
		"font-family:Liberation Sans;font-variant:normal;font-weight:normal;font-style:normal", "font-family:inherit"}
	for i := range palette {
		pairs = append(pairs, fmt.Sprintf("#0A00%02X", i), fmt.Sprintf("var(--c%d)", i), fmt.Sprintf("#0A00%02X", bands+i), fmt.Sprintf("var(--c%d);fill-opacity:.22", i))
	}
	return strings.NewReplacer(pairs...)
}()

// drawn is a chart as the page's template shows it.
type drawn struct {
	Chart
	SVG, Narrow template.HTML
	Data        string // for the script: numbers and geometry
	Geometry    string // of the narrow picture
}

// geometry is the rectangle of the data in the picture and in its own units.
type geometry struct {
	Left, Right, Top, Bottom float64
	X0, X1, Y0, Y1           float64
}

// draw makes the pictures.
func (c Chart) draw() (d drawn, err error) {
	d.Chart = c
	var at geometry
	if d.SVG, at, err = c.picture(wide); err != nil {
		return d, err
	}
	d.Data = c.data(at)
	if d.Narrow, at, err = c.picture(narrow); err != nil {
		return d, err
	}
	d.Geometry = fmt.Sprintf("[%.1f,%.1f,%.1f,%.1f]", at.Left, at.Right, at.Top, at.Bottom)
	return d, nil
}

// picture draws the chart in one size.
func (c Chart) picture(of size) (template.HTML, geometry, error) {
	var at geometry
	id := fmt.Sprintf("%s-%.0f", c.ID, of.width)
	if c.Kind == Ranks {
		lines := len(c.Series)
		if c.Sum {
			lines = 1
		}
		of.height = vg.Length(44 + len(c.Names)*(10+13*lines))
	}
	p := plot.New()
	p.BackgroundColor = nil
	small := font.Font{Typeface: "Liberation", Variant: "Sans", Size: 11}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Tick.Label.Font, a.Label.TextStyle.Font = small, small
		a.Tick.Label.Color, a.Label.TextStyle.Color, a.Color, a.Tick.Color = ink, ink, grid, grid
		a.Padding = 2
	}
	x, y := c.ranges()
	c.axes(p, int(of.width/95))
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = x[0], x[1], y[0], y[1]
	if c.LogX {
		p.X.Scale = plot.LogScale{}
	}
	lines := plotter.NewGrid()
	lines.Vertical.Color, lines.Horizontal.Color, lines.Horizontal.Width = nil, grid, vg.Points(0.6)
	if c.Kind == Ranks {
		lines.Vertical.Color, lines.Horizontal.Color, lines.Vertical.Width = grid, nil, vg.Points(0.6)
	}

	layers := make([]string, 0, 2)
	for _, data := range []bool{false, true} {
		canvas := vgsvg.New(of.width, of.height)
		whole := draw.Crop(draw.New(canvas), 2, -14, 2, -8)
		inner := p.DataCanvas(whole)
		if !data {
			p.Add(lines)
			p.Draw(whole)
			at = geometry{float64(inner.Min.X), float64(inner.Max.X), float64(of.height - inner.Max.Y), float64(of.height - inner.Min.Y), x[0], x[1], y[0], y[1]}
		} else if err := c.series(p, inner); err != nil {
			return "", at, fmt.Errorf("chart %s: %w", c.ID, err)
		}
		var buf bytes.Buffer
		if _, err := canvas.WriteTo(&buf); err != nil {
			return "", at, err
		}
		text := buf.String()
		if i := strings.Index(text, "<g "); i >= 0 {
			text = strings.TrimSuffix(strings.TrimSpace(text[i:]), "</svg>")
		}
		layers = append(layers, recolour.Replace(text))
	}
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s"><defs><clipPath id="clip-%s"><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"/></clipPath></defs>`,
		of.width, of.height, template.HTMLEscapeString(c.Title), id, at.Left, at.Top-8, at.Right-at.Left, at.Bottom-at.Top+8)
	fmt.Fprintf(&svg, `<g class="axes">%s</g><g clip-path="url(#clip-%s)"><g class="data">%s</g></g></svg>`, layers[0], id, layers[1])
	return template.HTML(svg.String()), at, nil //nolint:gosec // made here; every text in it was escaped
}

// axes labels the axes, the horizontal one with at most n words.
func (c Chart) axes(p *plot.Plot, n int) {
	p.Y.Label.Text = c.Unit
	p.Y.Tick.Marker = plot.TickerFunc(func(lo, hi float64) []plot.Tick { return ticks(lo, hi, 5, short) })
	p.X.Tick.Marker = plot.TickerFunc(func(lo, hi float64) []plot.Tick {
		switch {
		case c.XUnit == "" && c.Names == nil:
			return clockTicks(lo, hi, n)
		case c.LogX:
			return logTicks(lo, hi)
		}
		return ticks(lo, hi, n, short)
	})
	if c.XUnit != "" {
		p.X.Label.Text = c.XUnit
	}
	letters := 1
	for _, name := range c.Names {
		letters = max(letters, len([]rune(name)))
	}
	names := plot.TickerFunc(func(float64, float64) (out []plot.Tick) {
		step := 1
		if c.Kind == Bars {
			step = max(1, len(c.Names)*letters*7/(n*95)+min(1, len(c.Names)*letters*7%(n*95)))
		}
		for i, name := range c.Names {
			if i%step == 0 {
				at := float64(i)
				if c.Kind == Ranks {
					at = -at
				}
				out = append(out, plot.Tick{Value: at, Label: name})
			}
		}
		return out
	})
	switch {
	case c.Kind == Ranks:
		p.X.Label.Text, p.Y.Label.Text, p.Y.Tick.Marker, p.Y.Tick.Length = c.Unit, "", names, 0
		p.Y.LineStyle.Width = 0
		p.Y.Padding = vg.Length(4 + 1.2*float64(letters)) // the page's font may be wider than the one that was measured
	case c.Names != nil:
		p.X.Tick.Marker, p.X.Tick.Length = names, 0
	}
}

// ranges are the limits of the axes.
func (c Chart) ranges() (x, y [2]float64) {
	x, y = [2]float64{math.Inf(1), math.Inf(-1)}, [2]float64{0, math.Inf(-1)}
	grow := func(r *[2]float64, values ...float64) {
		for _, v := range values {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				r[0], r[1] = min(r[0], v), max(r[1], v)
			}
		}
	}
	grow(&x, c.X...)
	sum := make([]float64, max(len(c.X), len(c.Names)))
	for _, s := range c.Series {
		grow(&x, s.X...)
		if c.Kind == Stacked || c.Sum {
			for i, v := range s.Y {
				sum[i] += v
			}
			continue
		}
		grow(&y, s.Y...)
		grow(&y, s.Hi...)
	}
	grow(&y, sum...)
	for _, l := range c.Limits {
		grow(&y, l.Y)
	}
	if c.Kind == Bars && c.Names == nil && len(c.X) > 0 {
		grow(&x, c.X[len(c.X)-1]+c.barWidth())
	}
	if c.Names != nil {
		x = [2]float64{-0.6, float64(len(c.Names)) - 0.4}
	}
	if x[0] > x[1] {
		x = [2]float64{0, 1}
	}
	if x[0] == x[1] {
		x[1] = x[0] + 1
	}
	if c.LogX {
		x[0], x[1] = x[0]/1.15, x[1]*1.15
	} else if c.Kind == Points {
		pad := (x[1] - x[0]) * 0.04
		x[0], x[1] = max(min(0, x[0]), x[0]-pad), x[1]+pad
	}
	if y[1] <= 0 {
		y[1] = 1
	}
	y[1] *= 1.04
	if c.Kind == Ranks {
		return y, [2]float64{0.5 - float64(len(c.Names)), 0.5}
	}
	return x, y
}

// series draws the data.
func (c Chart) series(p *plot.Plot, to draw.Canvas) error {
	xs, ys := p.Transforms(&to)
	for _, m := range c.Marks {
		if m.X >= p.X.Min && m.X <= p.X.Max {
			to.StrokeLine2(draw.LineStyle{Color: mark, Width: 0.8, Dashes: []vg.Length{2, 3}}, xs(m.X), ys(p.Y.Min), xs(m.X), ys(p.Y.Max))
		}
	}
	below := make([]float64, max(len(c.X), len(c.Names)))
	for n, s := range c.Series {
		switch c.Kind {
		case Stacked:
			area := make([]vg.Point, 0, 2*len(c.X))
			for i := range c.X {
				area = append(area, vg.Point{X: xs(c.X[i]), Y: ys(below[i] + s.Y[i])})
			}
			for i := len(c.X) - 1; i >= 0; i-- {
				area = append(area, vg.Point{X: xs(c.X[i]), Y: ys(below[i])})
				below[i] += s.Y[i]
			}
			to.FillPolygon(hue(s.Color), area)
		case Bars:
			c.bars(n, &s, xs, ys, &to)
		case Ranks:
			share := 0.8 / float64(len(c.Series))
			for i, v := range s.Y {
				top := 0.4 - float64(i) - float64(n)*share
				if c.Sum {
					share, top = 0.8, 0.4-float64(i)
					to.FillPolygon(hue(s.Color), []vg.Point{{X: xs(below[i]), Y: ys(top)}, {X: xs(below[i] + v), Y: ys(top)}, {X: xs(below[i] + v), Y: ys(top - share)}, {X: xs(below[i]), Y: ys(top - share)}})
					below[i] += v
					continue
				}
				to.FillPolygon(hue(s.Color), []vg.Point{{X: xs(0), Y: ys(top)}, {X: xs(v), Y: ys(top)}, {X: xs(v), Y: ys(top - share)}, {X: xs(0), Y: ys(top - share)}})
			}
		case Points:
			dots := make([]vg.Point, 0, len(s.Y))
			for i, v := range s.Y {
				dots = append(dots, vg.Point{X: xs(s.X[i]), Y: ys(v)})
			}
			if s.Joined {
				to.StrokeLines(draw.LineStyle{Color: hue(s.Color), Width: 1.2}, dots)
			}
			for _, d := range dots {
				to.DrawGlyph(draw.GlyphStyle{Color: hue(s.Color), Radius: 3.2, Shape: draw.CircleGlyph{}}, d)
			}
		default:
			if s.Hi != nil {
				area := make([]vg.Point, 0, 2*len(c.X))
				for i := range c.X {
					area = append(area, vg.Point{X: xs(c.X[i]), Y: ys(s.Hi[i])})
				}
				for i := len(c.X) - 1; i >= 0; i-- {
					area = append(area, vg.Point{X: xs(c.X[i]), Y: ys(s.Lo[i])})
				}
				to.FillPolygon(color.RGBA{0x0a, 0, uint8(bands + s.Color%palette), 0xff}, area)
			}
			line := make([]vg.Point, 0, len(c.X))
			for i := range c.X {
				line = append(line, vg.Point{X: xs(c.X[i]), Y: ys(s.Y[i])})
			}
			to.StrokeLines(draw.LineStyle{Color: hue(s.Color), Width: 1.6}, line)
		}
	}
	for _, l := range c.Limits {
		if c.Kind == Ranks {
			to.StrokeLine2(draw.LineStyle{Color: mark, Width: 1, Dashes: []vg.Length{6, 3}}, xs(l.Y), ys(p.Y.Min), xs(l.Y), ys(p.Y.Max))
			continue
		}
		to.StrokeLine2(draw.LineStyle{Color: mark, Width: 1, Dashes: []vg.Length{6, 3}}, xs(p.X.Min), ys(l.Y), xs(p.X.Max), ys(l.Y))
		to.FillText(draw.TextStyle{Color: ink, Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: 10}, Handler: plot.DefaultTextHandler}, vg.Point{X: xs(p.X.Min) + 4, Y: ys(l.Y) + 3}, l.Text)
	}
	return nil
}

func (c Chart) barWidth() float64 {
	if len(c.X) > 1 {
		return c.X[1] - c.X[0]
	}
	return 1
}

func (c Chart) bars(n int, s *Line, xs, ys func(float64) vg.Length, to *draw.Canvas) {
	width := c.barWidth()
	share := 0.86 * width / float64(len(c.Series))
	for i, v := range s.Y {
		at := float64(i) - 0.43
		if c.Names == nil {
			at = c.X[i] + 0.07*width
		} else {
			share = 0.86 / float64(len(c.Series))
		}
		x0, x1 := xs(at+float64(n)*share), xs(at+float64(n+1)*share)
		to.FillPolygon(hue(s.Color), []vg.Point{{X: x0, Y: ys(0)}, {X: x0, Y: ys(v)}, {X: x1, Y: ys(v)}, {X: x1, Y: ys(0)}})
	}
}

// data is what the script needs for hover and zoom.
func (c Chart) data(at geometry) string {
	type line struct {
		Name   string    `json:"name"`
		Color  int       `json:"color"`
		Y      []float64 `json:"y"`
		X      []float64 `json:"x,omitempty"`
		Lo     []float64 `json:"lo,omitempty"`
		Hi     []float64 `json:"hi,omitempty"`
		Labels []string  `json:"labels,omitempty"`
	}
	doc := struct {
		Kind   int        `json:"kind"`
		Unit   string     `json:"unit"`
		XUnit  string     `json:"xunit"`
		X      []float64  `json:"x"`
		Names  []string   `json:"names,omitempty"`
		Marks  []Mark     `json:"marks,omitempty"`
		Log    bool       `json:"log,omitempty"`
		Box    [4]float64 `json:"box"`
		Domain [4]float64 `json:"domain"`
		Series []line     `json:"series"`
	}{int(c.Kind), c.Unit, c.XUnit, rounded(c.X), c.Names, c.Marks, c.LogX, [4]float64{at.Left, at.Right, at.Top, at.Bottom}, [4]float64{at.X0, at.X1, at.Y0, at.Y1}, nil}
	for _, s := range c.Series {
		doc.Series = append(doc.Series, line{s.Name, s.Color % palette, rounded(s.Y), rounded(s.X), rounded(s.Lo), rounded(s.Hi), s.Labels})
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return "{}" // a value without a number: the picture stands without hover
	}
	return string(text)
}

// rounded keeps six digits, which no pixel can show more of.
func rounded(v []float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		if r, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 6, 64), 64); err == nil && !math.IsInf(r, 0) && !math.IsNaN(r) {
			out[i] = r
		}
	}
	return out
}

// ticks are round values between lo and hi, about n of them.
func ticks(lo, hi float64, n int, label func(float64) string) (out []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/float64(n))))
	for _, f := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*f) <= float64(n) {
			step *= f
			break
		}
	}
	if !(step > 0) {
		return nil
	}
	for v := math.Ceil(lo/step) * step; v <= hi*(1+1e-9); v += step {
		out = append(out, plot.Tick{Value: v, Label: label(v)})
	}
	return out
}

func logTicks(lo, hi float64) (out []plot.Tick) {
	for p := math.Pow(10, math.Floor(math.Log10(lo))); p <= hi; p *= 10 {
		for _, f := range []float64{1, 2, 5} {
			if v := p * f; v >= lo && v <= hi {
				out = append(out, plot.Tick{Value: v, Label: short(v)})
			}
		}
	}
	return out
}

// clockTicks are round times, at most n of them.
func clockTicks(lo, hi float64, n int) (out []plot.Tick) {
	steps := []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 2 * 86400, 7 * 86400, 28 * 86400}
	i := 0
	for i < len(steps)-1 && (hi-lo)/steps[i] > float64(n) {
		i++
	}
	step := steps[i]
	for (hi-lo)/step > float64(n) {
		step *= 2
	}
	for v := math.Ceil(lo/step) * step; v <= hi; v += step {
		out = append(out, plot.Tick{Value: v, Label: clock(v)})
	}
	return out
}

// clock writes seconds as h:mm:ss, days apart.
func clock(s float64) string {
	n := int64(math.Round(s))
	text := fmt.Sprintf("%d:%02d:%02d", n/3600%24, n/60%60, n%60)
	if n >= 86400 {
		text = fmt.Sprintf("%dd %d:%02d", n/86400, n/3600%24, n/60%60)
	}
	return text
}

// short writes a number with a unit prefix.
func short(v float64) string {
	for _, u := range []struct {
		size float64
		sign string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= u.size {
			return strconv.FormatFloat(v/u.size, 'g', 3, 64) + " " + u.sign
		}
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'g', 4, 64)
}
