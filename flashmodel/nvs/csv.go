package nvs

import "strings"

// maxField is the length from which Python's csv module refuses a field.
const maxField = 131072

// readCSV splits text into rows as Python's csv.reader does with its default
// dialect, after dropping every line that starts with '#', wherever it stands.
// An empty line is an empty row. With an error come the rows before it.
func readCSV(text string) ([][]string, error) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var rows [][]string
	var p csvParser
	for line := range strings.Lines(text) {
		if line[0] == '#' {
			continue
		}
		if err := p.line(line); err != nil {
			return rows, err
		}
		if p.state == rowStart {
			rows = append(rows, p.row)
			p.row = nil
		}
	}
	if p.state == inQuotes {
		rows = append(rows, append(p.row, p.field.String()))
	}
	return rows, nil
}

type csvState int

const (
	rowStart csvState = iota
	fieldStart
	inField
	inQuotes
	afterQuote // a quote inside quotes: the end, or the first of two
)

type csvParser struct {
	state   csvState
	row     []string
	field   strings.Builder
	letters int
}

func (p *csvParser) add(r rune) error {
	if p.letters++; p.letters > maxField {
		return fail("_csv.Error", "field larger than field limit (131072)")
	}
	p.field.WriteRune(r)
	return nil
}

func (p *csvParser) save() {
	p.row = append(p.row, p.field.String())
	p.field.Reset()
	p.letters = 0
}

// line takes one line with its end. Quoted fields may go on in the next one.
func (p *csvParser) line(line string) error {
	content, ended := strings.CutSuffix(line, "\n")
	for _, r := range content {
		if err := p.letter(r); err != nil {
			return err
		}
	}
	switch p.state {
	case rowStart:
	case inQuotes:
		if ended {
			return p.add('\n')
		}
	default:
		p.save()
		p.state = rowStart
	}
	return nil
}

func (p *csvParser) letter(r rune) error {
	switch p.state {
	case rowStart, fieldStart:
		switch r {
		case '"':
			p.state = inQuotes
		case ',':
			p.save()
			p.state = fieldStart
		default:
			p.state = inField
			return p.add(r)
		}
	case inQuotes:
		if r != '"' {
			return p.add(r)
		}
		p.state = afterQuote
	case inField, afterQuote:
		switch {
		case r == ',':
			p.save()
			p.state = fieldStart
		case r == '"' && p.state == afterQuote:
			p.state = inQuotes
			return p.add(r)
		default:
			p.state = inField
			return p.add(r)
		}
	}
	return nil
}
