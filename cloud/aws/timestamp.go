package aws

import (
	"fmt"
	"strconv"
	"time"
)

// Timestamp is a time in an API body: epoch seconds as a JSON number with up
// to three decimals. The zero value stands for "not set"; use omitzero.
type Timestamp struct{ time.Time }

// At returns the timestamp of unix nanoseconds; 0 gives the zero value.
func At(ns int64) Timestamp {
	if ns == 0 {
		return Timestamp{}
	}
	return Timestamp{time.Unix(0, ns).UTC()}
}

// MarshalJSON writes epoch seconds.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	ms := t.UnixMilli()
	if ms%1000 == 0 {
		return strconv.AppendInt(nil, ms/1000, 10), nil
	}
	return []byte(fmt.Sprintf("%d.%03d", ms/1000, ms%1000)), nil
}

// UnmarshalJSON reads epoch seconds, with or without decimals.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Timestamp{}
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f < -1e11 || f > 1e11 {
		return fmt.Errorf("timestamp %q: want epoch seconds", b)
	}
	t.Time = time.UnixMilli(int64(f * 1000)).UTC()
	return nil
}
