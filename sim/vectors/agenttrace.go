package vectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/otasim/otasim/device/agent"
)

type traceConfig struct {
	Thing            string `json:"thing"`
	Log2             uint8  `json:"log2"`
	N                uint32 `json:"n"`
	Ver              string `json:"ver"`
	PAL              string `json:"pal"`
	Mom              uint32 `json:"mom"`
	Freq             uint32 `json:"freq"`
	ReqMs            uint32 `json:"req_ms"`
	StMs             uint32 `json:"st_ms"`
	Buffers          string `json:"buffers"`
	Bitmap           int    `json:"bitmap"`
	Primary          string `json:"primary"`
	Downgrade        int    `json:"downgrade"`
	Asserts          int    `json:"asserts"`
	Queue            int    `json:"queue"`
	OnActivate       string `json:"on_activate"`
	OnStartTest      string `json:"on_start_test"`
	OnCustom         any    `json:"on_custom"`
	OnSelfTestFailed string `json:"on_self_test_failed"`
}

type traceStep struct {
	K          string         `json:"k"`
	Doc        int            `json:"doc"`
	I          int64          `json:"i"`
	L          int64          `json:"l"`
	F          int64          `json:"f"`
	P          []uint64       `json:"p"`
	Raw        []any          `json:"raw"`
	From       int64          `json:"from"`
	To         int64          `json:"to"`
	Size       int64          `json:"size"`
	Force      any            `json:"force"`
	Unsub      int            `json:"unsub"`
	V          string         `json:"v"`
	Ok         bool           `json:"ok"`
	N          int            `json:"n"`
	Fn         string         `json:"fn"`
	Code       any            `json:"code"`
	Skip       int            `json:"skip"`
	OnActivate *string        `json:"on_activate"`
	OnStart    *string        `json:"on_start_test"`
	PAL        string         `json:"pal"`
	Ver        string         `json:"ver"`
	Run        *int           `json:"run"`
	O          []any          `json:"o"`
	St         map[string]any `json:"st"`
	Crash      string         `json:"crash"`
}

type traceVector struct {
	ID    string      `json:"id"`
	Kind  string      `json:"kind"`
	Title string      `json:"title"`
	Cfg   traceConfig `json:"cfg"`
	FS    uint64      `json:"fs"`
	Docs  []document  `json:"docs"`
	Steps []traceStep `json:"steps"`
}

func parseHex32(s string) uint32 {
	v, _ := strconv.ParseUint(s, 0, 32)
	return uint32(v)
}

func xorshift(seed uint32, n int) []byte {
	if seed == 0 {
		seed = 1
	}
	out := make([]byte, max(n, 0))
	for i := range out {
		seed ^= seed << 13
		seed ^= seed >> 17
		seed ^= seed << 5
		out[i] = byte(seed)
	}
	return out
}

// replayTrace answers trace vectors of an agent's profile: after every step the outputs and the state are compared.
func replayTrace(profile *agent.Profile) func(t *Tables, line json.RawMessage) error {
	return func(t *Tables, line json.RawMessage) error {
		v := traceVector{Cfg: defaultTrace(profile)}
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		docs, err := t.documents(v.Docs)
		if err != nil {
			return err
		}
		r, want := newRig(profile, v.Cfg, v.FS), map[string]any{}
		for n := range v.Steps {
			s := &v.Steps[n]
			if s.K == "reboot" {
				clear(want)
			}
			r.out = nil
			if err := r.step(s, docs); err != nil {
				return err
			}
			if err := r.compare(s, want); err != nil {
				return fmt.Errorf("step %d %s: %w", n, s.K, err)
			}
			if s.Crash != "" {
				break
			}
		}
		return nil
	}
}

// defaultTrace is the configuration of a vector that says nothing.
func defaultTrace(p *agent.Profile) traceConfig {
	c := traceConfig{Thing: "dev-0001", Log2: 8, N: 1, Ver: "0x00090002", PAL: "Valid", Mom: 32, Freq: 64, ReqMs: 10000,
		StMs: 16000, Buffers: "app", Bitmap: 128, Primary: "mqtt", Queue: 20, OnActivate: "activate", OnStartTest: "accept", OnSelfTestFailed: "none"}
	if p.Task2018 {
		c.ReqMs, c.Buffers, c.Queue = 2500, "heap", 6
	}
	return c
}

var (
	errOutput = errors.New("output differs")
	errState  = errors.New("state differs")
)

// compare holds what the step gave against the vector. want collects the fields of the state that have been given.
func (r *rig) compare(s *traceStep, want map[string]any) error {
	for i := range max(len(r.out), len(s.O)) {
		var g, w any = "nothing", "nothing"
		if i < len(r.out) {
			g = r.out[i]
		}
		if i < len(s.O) {
			w = s.O[i]
		}
		if !same(g, w) && !undefinedWrite(w, g) {
			return fmt.Errorf("%w: %d is %v, want %v", errOutput, i, g, w)
		}
	}
	if (s.Crash != "") != (r.a.Crash != "") {
		return fmt.Errorf("%w: crash %q, want %q", errState, r.a.Crash, s.Crash)
	}
	for k, x := range s.St {
		want[k] = x
	}
	state := r.state()
	for _, k := range stateFields {
		if x, ok := want[k]; ok && s.Crash == "" && !same(state[k], x) && !(k == "job" && x == nil && state[k] == "") {
			return fmt.Errorf("%w: %s is %v, want %v", errState, k, state[k], x)
		}
	}
	return nil
}

var stateFields = []string{"s", "img", "job", "rem", "mom", "tr", "ts", "q", "exp", "file", "stat"}

// same compares a recorded value with a decoded one, whose numbers are floating point.
func same(got, want any) bool {
	switch g := got.(type) {
	case int:
		w, ok := want.(float64)
		return ok && w == float64(g)
	case []any:
		w, ok := want.([]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for i := range g {
			if !same(g[i], w[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		w, ok := want.(map[string]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for k, v := range g {
			if x, ok := w[k]; !ok || !same(v, x) {
				return false
			}
		}
		return true
	}
	return got == want
}

// undefinedWrite accepts any data where the vector says that what was written is undefined.
func undefinedWrite(want, got any) bool {
	w, ok1 := want.([]any)
	g, ok2 := got.([]any)
	return ok1 && ok2 && len(w) == len(g) && len(w) >= 4 && w[0] == "pal_write" && w[3] == "?" && g[0] == "pal_write"
}
