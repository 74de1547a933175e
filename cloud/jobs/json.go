package jobs

import (
	"bytes"
	"encoding/json"
	"sort"
	"strconv"
	"unicode/utf8"
)

// request has the members of all data plane requests; an absent member and
// null are the same.
type request struct {
	token    *string
	status   *string
	details  *[]Detail
	expected *int64 // a number, or a number in a string as several clients send it
	number   *int64
	step     *int64
	document *bool
	state    *bool
}

// decode reads a request body; an empty one is {}. Unknown members are ignored.
func decode(payload []byte, r *request) *DataError {
	payload = bytes.TrimSpace(payload)
	if len(payload) == 0 {
		return nil
	}
	if !utf8.Valid(payload) || !json.Valid(payload) {
		return &DataError{Code: InvalidJSON, Message: "The request body is not valid UTF-8 encoded JSON."}
	}
	if payload[0] != '{' {
		return invalid("The request body must be a JSON object.")
	}
	var derr *DataError
	members(payload, func(key, raw []byte) {
		name, ok := unquote(key)
		if !ok || derr != nil {
			return
		}
		null := string(raw) == "null"
		switch name {
		case "clientToken":
			ok = text(raw, null, &r.token)
		case "status":
			ok = text(raw, null, &r.status)
		case "executionNumber":
			ok = number(raw, null, &r.number)
		case "stepTimeoutInMinutes":
			ok = number(raw, null, &r.step)
		case "includeJobDocument":
			ok = boolean(raw, null, &r.document)
		case "includeJobExecutionState":
			ok = boolean(raw, null, &r.state)
		case "expectedVersion":
			if s, quoted := unquote(raw); quoted {
				raw = []byte(s)
			}
			ok = number(raw, null, &r.expected)
		case "statusDetails":
			r.details = nil
			if !null {
				r.details, derr = parseDetails(raw)
			}
		}
		if !ok {
			derr = invalid("Value at '%s' has the wrong type", name)
		}
	})
	return derr
}

func text(raw []byte, null bool, to **string) bool {
	if *to = nil; null {
		return true
	}
	s, ok := unquote(raw)
	*to = &s
	return ok
}

func number(raw []byte, null bool, to **int64) bool {
	if *to = nil; null {
		return true
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	*to = &n
	return err == nil
}

func boolean(raw []byte, null bool, to **bool) bool {
	if *to = nil; null {
		return true
	}
	v := raw[0] == 't'
	*to = &v
	return v || raw[0] == 'f'
}

// parseDetails reads a map of strings, sorted by key; the last of equal keys
// counts.
func parseDetails(raw []byte) (*[]Detail, *DataError) {
	if raw[0] != '{' {
		return nil, invalid("Value at 'statusDetails' must be a map of strings")
	}
	var out []Detail
	bad := false
	members(raw, func(key, raw []byte) {
		k, _ := unquote(key)
		v, ok := unquote(raw)
		bad = bad || !ok
		for i := range out {
			if out[i].Key == k {
				out[i].Value = v
				return
			}
		}
		out = append(out, Detail{k, v})
	})
	if bad {
		return nil, invalid("Value at 'statusDetails' must be a map of strings")
	}
	if derr := checkDetails(out); derr != nil {
		return nil, derr
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return &out, nil
}

// members visits the members of an object: the key with its quotes and the
// value as written. b holds one valid JSON object.
func members(b []byte, visit func(key, raw []byte)) {
	for i := 1; ; {
		i += space(b[i:])
		if i >= len(b) || b[i] == '}' {
			return
		}
		if b[i] == ',' {
			i++
			continue
		}
		n := value(b[i:])
		key := b[i : i+n]
		i += n
		i += space(b[i:]) + 1 // the colon
		i += space(b[i:])
		n = value(b[i:])
		visit(key, b[i:i+n])
		i += n
	}
}

func space(b []byte) int {
	n := 0
	for n < len(b) && (b[n] == ' ' || b[n] == '\t' || b[n] == '\n' || b[n] == '\r') {
		n++
	}
	return n
}

// value is the length of the JSON value that b begins with.
func value(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// unquote returns the text of a JSON string; false for another value.
func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}
