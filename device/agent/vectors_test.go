package agent

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// vectorDir returns the folder with the agent's recorded behaviour.
func vectorDir(t testing.TB) string {
	dir := os.Getenv("VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "vectors")
	}
	dir = filepath.Join(dir, "agent")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no agent vectors: %v (set VECTORS)", err)
	}
	return dir
}

func eachVector(t testing.TB, name string, do func(line []byte)) {
	file, err := os.Open(filepath.Join(vectorDir(t), name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(make([]byte, 1<<20), 1<<26)
	for lines.Scan() {
		do(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

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
	Primary          string `json:"primary"`
	Downgrade        int    `json:"downgrade"`
	Asserts          int    `json:"asserts"`
	Queue            int    `json:"queue"`
	OnActivate       string `json:"on_activate"`
	OnStartTest      string `json:"on_start_test"`
	OnCustom         any    `json:"on_custom"`
	OnSelfTestFailed string `json:"on_self_test_failed"`
	Bitmap           int    `json:"bitmap"`
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
	Docs  []any       `json:"docs"`
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

// rig plays a trace vector against the agent and records what the agent does, in the form of the vectors.
type rig struct {
	a           Agent
	cfg         Config
	version     uint32
	trace       traceConfig
	fs          uint64
	out         []any
	platform    PlatformState
	connected   bool
	fails       map[string]int // remaining failures by call, -1 for ever
	palFail     map[string][]string
	mallocSkip  int
	armed       [2]uint32
	onActivate  string
	onStart     string
	fileOpen    bool
	lastPayload map[int64][]byte
}

var platformNames = map[string]PlatformState{"PendingCommit": PlatformPendingCommit, "Valid": PlatformValid, "Invalid": PlatformInvalid}

func newRig(profile *Profile, c traceConfig, fs uint64) *rig {
	r := &rig{trace: c, fs: fs, lastPayload: map[int64][]byte{}}
	r.cfg = DefaultConfig(profile)
	r.cfg.Log2Block, r.cfg.BlocksPerRequest = c.Log2, c.N
	r.cfg.RequestMs, r.cfg.SelfTestMs = c.ReqMs, c.StMs
	r.cfg.MomentumLimit, r.cfg.StatusEvery = c.Mom, c.Freq
	r.cfg.QueueLength, r.cfg.HeapBuffers = c.Queue, c.Buffers == "heap"
	r.cfg.PrimaryHTTP, r.cfg.AllowDowngrade = c.Primary == "http", c.Downgrade == 1
	r.platform, r.version = platformNames[c.PAL], parseHex32(c.Ver)
	r.boot()
	return r
}

func (r *rig) boot() {
	r.a = New(&r.cfg, r.trace.Thing, r.version)
	r.connected, r.fails, r.palFail, r.armed, r.fileOpen = true, map[string]int{}, map[string][]string{}, [2]uint32{}, false
	r.cfg.QueueLength = r.trace.Queue
	r.onActivate, r.onStart = r.trace.OnActivate, r.trace.OnStartTest
}

func (r *rig) record(items ...any) { r.out = append(r.out, items) }

func (r *rig) failing(call string) bool {
	n := r.fails[call]
	if n > 0 {
		r.fails[call]--
	}
	return n != 0
}

func (r *rig) net(call string, items ...any) bool {
	ok := !r.failing(call) && r.connected
	if !ok {
		items = append(items, "fail")
	}
	r.record(items...)
	return ok
}

func (r *rig) Subscribe(qos byte, topic string) bool {
	return r.net("subscribe", "sub", int(qos), topic)
}
func (r *rig) Unsubscribe(qos byte, topic string) bool {
	return r.net("unsubscribe", "unsub", int(qos), topic)
}
func (r *rig) Publish(qos byte, topic string, payload []byte) bool {
	if len(payload) > 0 && payload[0] == '{' {
		return r.net("publish", "pub", int(qos), topic, string(payload))
	}
	return r.net("publish", "pubx", int(qos), topic, hex.EncodeToString(payload))
}
func (r *rig) HTTPInit(url Text) bool { return r.net("http_init", "http_init", cText(url)) }
func (r *rig) HTTPRequest(first, last uint32) bool {
	return r.net("http_req", "http_req", int(first), int(last))
}
func (r *rig) HTTPDeinit() { r.record("http_deinit") }

var timerNames = [2]string{"request", "self_test"}

func (r *rig) StartTimer(t Timer, ms uint32) bool {
	if r.failing("timer") {
		r.record("timer_start", timerNames[t], int(ms), "fail")
		return false
	}
	r.armed[t] = ms
	r.record("timer_start", timerNames[t], int(ms))
	return true
}
func (r *rig) StopTimer(t Timer)   { r.armed[t] = 0; r.record("timer_stop", timerNames[t]) }
func (r *rig) DeleteTimer(t Timer) { r.armed[t] = 0; r.record("timer_delete", timerNames[t]) }

func (r *rig) pal(fn string, items ...any) PALStatus {
	status := PALStatus(0)
	if planned := r.palFail[fn]; len(planned) > 0 {
		r.palFail[fn] = planned[1:]
		status = PALStatus(parseHex32(planned[0]))
		items = append(items, planned[0])
	}
	r.record(items...)
	return status
}

func cText(t Text) any {
	if t.Null {
		return nil
	}
	return t.S
}

func (r *rig) CreateFile(f *File) PALStatus {
	sum := sha256.Sum256(f.Signature)
	status := r.pal("create", "pal_create", map[string]any{"size": int(f.Size), "file_id": int(f.ID), "path": cText(f.Path),
		"cert": cText(f.Cert), "sig_len": len(f.Signature), "sig": hex.EncodeToString(sum[:4]), "attr": int(f.Attr), "type": int(f.Type)})
	if status.Main() == 0 {
		r.fileOpen = true
	}
	return status
}

func (r *rig) WriteBlock(f *File, offset uint32, data []byte) int {
	sum := sha256.Sum256(data)
	items := []any{"pal_write", int(offset), len(data), hex.EncodeToString(sum[:4])}
	if want, ok := r.lastPayload[int64(offset>>r.cfg.Log2Block)]; ok && string(want) == string(data) {
		items[3] = "="
	}
	n := len(data)
	if planned := r.palFail["write"]; len(planned) > 0 {
		r.palFail["write"] = planned[1:]
		v, _ := strconv.Atoi(planned[0])
		n = v
		items = append(items, v)
	}
	r.record(items...)
	return n
}
func (r *rig) CloseFile(*File) PALStatus {
	r.fileOpen = false
	return r.pal("close", "pal_close")
}
func (r *rig) AbortFile(*File) PALStatus {
	r.fileOpen = false
	return r.pal("abort", "pal_abort")
}
func (r *rig) ActivateImage(*File) PALStatus { return r.pal("activate", "pal_activate") }
func (r *rig) ResetDevice(*File) PALStatus   { return r.pal("reset", "pal_reset") }
func (r *rig) SetPlatformState(_ *File, s ImageState) PALStatus {
	return r.pal("setstate", "pal_set_state", int(s))
}
func (r *rig) PlatformState() PlatformState { return r.platform }
func (r *rig) QueueFull(EventID) {
	r.record("queue_full")
	if r.cfg.QueueLength == 0 {
		if r.failing("queue"); r.fails["queue"] == 0 {
			r.cfg.QueueLength = r.trace.Queue
		}
	}
}
func (r *rig) Alloc() bool {
	if r.mallocSkip > 0 {
		r.mallocSkip--
		return true
	}
	return !r.failing("malloc")
}

func (r *rig) Callback(a *Agent, c Callback, info Info) CustomStatus {
	var job any = info.Job
	if info.JobNull {
		job = nil
	}
	switch c {
	case CallbackActivate, CallbackFail, CallbackUpdateComplete:
		r.record("cb", c.String(), map[string]any{"job": job, "status": int(info.Status), "reason": int(int32(info.Reason)),
			"sub": int(int32(info.Sub)), "type": int(info.FileType)})
	case CallbackReceivedJob:
		r.record("cb", c.String(), map[string]any{"job": job, "type": int(info.FileType)})
	case CallbackParseCustomJob:
		r.record("cb", c.String(), map[string]any{"job": job, "doc_len": len(info.Document)})
	default:
		r.record("cb", c.String())
	}
	switch c {
	case CallbackActivate:
		if r.onActivate != "none" {
			r.record("ret", "activate", int(a.Activate(r)))
		}
		if r.onActivate == "activate_shutdown" {
			a.ShutdownAgent(r, true)
			r.record("ret", "shutdown", int(a.state))
		}
	case CallbackStartTest:
		switch r.onStart {
		case "accept":
			r.record("ret", "set_image_state", int(a.SetImageState(r, ImageAccepted)))
		case "reject":
			r.record("ret", "set_image_state", int(a.SetImageState(r, ImageRejected)))
		}
	case CallbackSelfTestFailed:
		if r.trace.OnSelfTestFailed == "shutdown" {
			a.ShutdownAgent(r, true)
			r.record("ret", "shutdown", int(a.state))
		}
	case CallbackParseCustomJob:
		if v, ok := r.trace.OnCustom.([]any); ok {
			return CustomStatus{true, Status(v[0].(float64)), uint32(v[1].(float64)), uint32(v[2].(float64))}
		}
	}
	return CustomStatus{}
}

func (r *rig) payload(s *traceStep, i, l int64) []byte {
	if s.P != nil {
		return xorshift(uint32(s.P[0]), int(s.P[1]))
	}
	seed := uint32(r.fs + 0x9E3779B9*uint64(uint32(i)+1))
	return xorshift(seed, int(l))
}

func cborInt(dst []byte, v int64) []byte {
	major, n := byte(0), uint64(v)
	if v < 0 {
		major, n = 1, uint64(-1-v)
	}
	if n > 0xffffffff {
		return append(dst, major<<5|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return appendHead(dst, major, uint32(n))
}

func (r *rig) blockMessage(s *traceStep, i, l int64) []byte {
	if s.Raw != nil {
		var msg []byte
		for _, piece := range s.Raw {
			switch v := piece.(type) {
			case string:
				b, _ := hex.DecodeString(v)
				msg = append(msg, b...)
			case []any:
				msg = append(msg, xorshift(uint32(v[0].(float64)), int(v[1].(float64)))...)
			}
		}
		return msg
	}
	p := r.payload(s, i, l)
	r.lastPayload[i] = p
	msg := cborInt([]byte{0xa4, 0x61, 'f'}, s.F)
	msg = cborInt(append(msg, 0x61, 'i'), i)
	msg = cborInt(append(msg, 0x61, 'l'), l)
	return append(appendHead(append(msg, 0x61, 'p'), 2, uint32(len(p))), p...)
}

func (r *rig) process(s *traceStep) {
	limit := -1
	if s.Run != nil {
		limit = *s.Run
	}
	r.a.Process(r, limit)
}

func (r *rig) deliver(id EventID, data []byte) {
	if r.a.state == Stopped && !r.cfg.Profile.ShutdownWipes {
		r.record("not_queued")
		return
	}
	r.a.Signal(r, id, data)
}

func (r *rig) step(s *traceStep, docs [][]byte) {
	ret := func(name string, v int) { r.record("ret", name, v) }
	count := func(call string) {
		r.fails[call] = 0
		if !s.Ok {
			r.fails[call] = s.N
		}
	}
	switch s.K {
	case "start":
		ret("init", int(r.a.Initialise(r)))
		r.deliver(Start, nil)
	case "init":
		ret("init", int(r.a.Initialise(r)))
	case "start_event":
		r.a.Signal(r, Start, nil)
	case "job_doc", "notify_next":
		r.deliver(ReceivedJobDocument, docs[s.Doc])
	case "block":
		r.deliver(ReceivedFileBlock, r.blockMessage(s, s.I, s.L))
	case "blocks":
		for i := s.From; i <= s.To; i++ {
			l := min(int64(r.cfg.BlockSize()), s.Size-i*int64(r.cfg.BlockSize()))
			r.deliver(ReceivedFileBlock, r.blockMessage(s, i, l))
			r.a.Process(r, -1)
		}
	case "http_body":
		p := r.payload(s, s.I, s.L)
		r.deliver(ReceivedFileBlock, p)
	case "request_timer", "self_test_timer":
		t := TimerRequest
		if s.K == "self_test_timer" {
			t = TimerSelfTest
		}
		if r.armed[t] != 0 || s.Force != nil {
			r.armed[t] = 0
			r.a.Expired(r, t)
		}
	case "suspend":
		ret("suspend", int(r.a.SuspendAgent(r)))
	case "resume":
		ret("resume", int(r.a.ResumeAgent(r)))
	case "check_for_update":
		ret("check_for_update", int(r.a.CheckForUpdate(r)))
	case "activate":
		ret("activate", int(r.a.Activate(r)))
	case "shutdown":
		r.a.ShutdownAgent(r, s.Unsub != 0)
		ret("shutdown", int(r.a.state))
	case "user_abort":
		ret("set_image_state", int(r.a.SetImageState(r, ImageAborted)))
	case "set_image_state":
		states := map[string]ImageState{"Testing": ImageTesting, "Accepted": ImageAccepted, "Rejected": ImageRejected, "Aborted": ImageAborted}
		ret("set_image_state", int(r.a.SetImageState(r, states[s.V])))
	case "request_job_event":
		r.a.Signal(r, RequestJobDocument, nil)
	case "publish_result":
		count("publish")
	case "subscribe_result":
		count("subscribe")
	case "unsubscribe_result":
		count("unsubscribe")
	case "disconnect":
		r.connected = false
	case "connect":
		r.connected = true
	case "pal_fail":
		r.palFail[s.Fn] = nil
		for range s.N {
			code := fmt.Sprint(s.Code)
			if v, ok := s.Code.(float64); ok {
				code = strconv.Itoa(int(v))
			}
			r.palFail[s.Fn] = append(r.palFail[s.Fn], code)
		}
	case "http_fail":
		r.fails["http_"+s.Fn] = s.N
	case "os_fail":
		r.fails[s.Fn] = s.N
		if s.Fn == "queue" {
			r.cfg.QueueLength = 0
		}
		if s.Fn == "malloc" {
			r.mallocSkip = s.Skip
		}
	case "pal_state":
		r.platform = platformNames[s.V]
	case "app":
		if s.OnActivate != nil {
			r.onActivate = *s.OnActivate
		}
		if s.OnStart != nil {
			r.onStart = *s.OnStart
		}
	case "pump":
	case "reboot":
		if s.PAL != "" {
			r.platform = platformNames[s.PAL]
		}
		if s.Ver != "" {
			r.version = parseHex32(s.Ver)
		}
		r.boot()
		return
	default:
		panic("unknown step " + s.K)
	}
	r.process(s)
}

func (r *rig) state() map[string]any {
	v := r.a.View()
	file := 0
	if r.fileOpen {
		file = 1
	}
	return map[string]any{"s": v.State.String(), "img": float64(v.Image), "job": v.Job, "rem": float64(v.Remaining),
		"mom": float64(v.Momentum), "tr": float64(r.armed[0]), "ts": float64(r.armed[1]), "q": float64(v.Queued),
		"exp": float64(v.Expected), "file": float64(file),
		"stat": []any{float64(v.Stats.Received), float64(v.Stats.Queued), float64(v.Stats.Processed), float64(v.Stats.Dropped)}}
}

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

func sharedDocs(t testing.TB) map[string]map[string]any {
	b, err := os.ReadFile(filepath.Join(vectorDir(t), "shared_docs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	docs := map[string]map[string]any{}
	switch all := all.(type) {
	case map[string]any:
		for k, v := range all {
			switch v := v.(type) {
			case map[string]any:
				docs[k] = v
			case string:
				docs[k] = map[string]any{"doc": v}
			}
		}
	case []any:
		for _, v := range all {
			m := v.(map[string]any)
			docs[fmt.Sprint(m["ref"])] = m
		}
	}
	return docs
}

func documents(v []any, shared map[string]map[string]any) [][]byte {
	var docs [][]byte
	for _, d := range v {
		switch d := d.(type) {
		case string:
			docs = append(docs, []byte(d))
		case map[string]any:
			if ref, ok := d["ref"]; ok {
				d = shared[ref.(string)]
				if s, ok := d["doc"].(string); ok {
					docs = append(docs, []byte(s))
					continue
				}
				b, _ := hex.DecodeString(d["doc_hex"].(string))
				docs = append(docs, b)
				continue
			}
			b, _ := hex.DecodeString(d["hex"].(string))
			docs = append(docs, b)
		}
	}
	return docs
}

// playTrace returns "" when every step matched.
func playTrace(profile *Profile, line []byte, shared map[string]map[string]any) (id, diff string, skipped bool) {
	v := traceVector{Cfg: traceConfig{Thing: "dev-0001", Log2: 8, N: 1, Ver: "0x00090002", PAL: "Valid", Mom: 32, Freq: 64, ReqMs: 10000,
		StMs: 16000, Buffers: "app", Primary: "mqtt", Queue: 20, OnActivate: "activate", OnStartTest: "accept", OnSelfTestFailed: "none", Bitmap: 128}}
	if err := json.Unmarshal(line, &v); err != nil {
		return "", err.Error(), false
	}
	if v.Cfg.Asserts != 0 {
		return v.ID, "", true
	}
	r := newRig(profile, v.Cfg, v.FS)
	docs := documents(v.Docs, shared)
	want := map[string]any{}
	for n := range v.Steps {
		s := &v.Steps[n]
		r.out = nil
		if s.K == "reboot" {
			want = map[string]any{}
		}
		r.step(s, docs)
		head := fmt.Sprintf("%s %q step %d %s", v.ID, v.Title, n, s.K)
		got := r.out
		for i := 0; i < max(len(got), len(s.O)); i++ {
			var g, w any = "nothing", "nothing"
			if i < len(got) {
				g = got[i]
			}
			if i < len(s.O) {
				w = s.O[i]
			}
			if !same(g, w) && !undefinedWrite(w, g) {
				return v.ID, fmt.Sprintf("%s output %d:\n  got  %v\n  want %v", head, i, g, w), false
			}
		}
		if (s.Crash == "segv") != (r.a.Crash != "") {
			return v.ID, fmt.Sprintf("%s crash: got %q want %q", head, r.a.Crash, s.Crash), false
		}
		if s.Crash != "" {
			return v.ID, "", false
		}
		for k, x := range s.St {
			want[k] = x
		}
		state := r.state()
		for _, k := range []string{"s", "img", "job", "rem", "mom", "tr", "ts", "q", "exp", "file", "stat"} {
			if x, ok := want[k]; ok && !same(state[k], x) && !(k == "job" && x == nil && state[k] == "") {
				return v.ID, fmt.Sprintf("%s state %s: got %v want %v", head, k, state[k], x), false
			}
		}
	}
	return v.ID, "", false
}

// undefinedWrite accepts any data where the vector says that what was written is undefined.
func undefinedWrite(want, got any) bool {
	w, ok1 := want.([]any)
	g, ok2 := got.([]any)
	return ok1 && ok2 && len(w) == len(g) && len(w) >= 4 && w[0] == "pal_write" && w[3] == "?" && g[0] == "pal_write"
}

func TestTraceVectors(t *testing.T) {
	shared := sharedDocs(t)
	for _, profile := range []*Profile{Main, V341, B36DB646, V300} {
		t.Run(profile.Name, func(t *testing.T) {
			total, good, shown := 0, 0, 0
			eachVector(t, "traces-"+profile.Name+".jsonl.gz", func(line []byte) {
				_, diff, skipped := playTrace(profile, line, shared)
				if skipped {
					return
				}
				total++
				if diff == "" {
					good++
				} else if shown < 25 {
					shown++
					t.Error(diff)
				}
			})
			t.Logf("traces-%s %d/%d", profile.Name, good, total)
		})
	}
}
