package vectors

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/otasim/otasim/device/agent"
)

// rig plays a trace vector against the agent and records what the agent does, in the form of the vectors.
type rig struct {
	a           agent.Agent
	cfg         agent.Config
	version     uint32
	trace       traceConfig
	fs          uint64
	out         []any
	platform    agent.PlatformState
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

var platformNames = map[string]agent.PlatformState{"PendingCommit": agent.PlatformPendingCommit, "Valid": agent.PlatformValid, "Invalid": agent.PlatformInvalid}

func newRig(profile *agent.Profile, c traceConfig, fs uint64) *rig {
	r := &rig{trace: c, fs: fs, lastPayload: map[int64][]byte{}}
	r.cfg = agent.DefaultConfig(profile)
	r.cfg.Log2Block, r.cfg.BlocksPerRequest = c.Log2, c.N
	r.cfg.RequestMs, r.cfg.SelfTestMs = c.ReqMs, c.StMs
	r.cfg.MomentumLimit, r.cfg.StatusEvery = c.Mom, c.Freq
	r.cfg.QueueLength, r.cfg.HeapBuffers = c.Queue, c.Buffers == "heap"
	r.cfg.BitmapBuffer = c.Bitmap
	r.cfg.PrimaryHTTP, r.cfg.AllowDowngrade, r.cfg.Asserts = c.Primary == "http", c.Downgrade == 1, c.Asserts == 1
	r.platform, r.version = platformNames[c.PAL], parseHex32(c.Ver)
	r.boot()
	return r
}

func (r *rig) boot() {
	r.a = agent.New(&r.cfg, r.trace.Thing, r.version)
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
func (r *rig) HTTPInit(url agent.Text) bool { return r.net("http_init", "http_init", cText(url)) }
func (r *rig) HTTPRequest(first, last uint32) bool {
	return r.net("http_req", "http_req", int(first), int(last))
}
func (r *rig) HTTPDeinit() { r.record("http_deinit") }

var timerNames = [2]string{"request", "self_test"}

func (r *rig) StartTimer(t agent.Timer, ms uint32) bool {
	if r.failing("timer") {
		r.record("timer_start", timerNames[t], int(ms), "fail")
		return false
	}
	r.armed[t] = ms
	r.record("timer_start", timerNames[t], int(ms))
	return true
}
func (r *rig) StopTimer(t agent.Timer)   { r.armed[t] = 0; r.record("timer_stop", timerNames[t]) }
func (r *rig) DeleteTimer(t agent.Timer) { r.armed[t] = 0; r.record("timer_delete", timerNames[t]) }

func (r *rig) pal(fn string, items ...any) agent.PALStatus {
	status := agent.PALStatus(0)
	if planned := r.palFail[fn]; len(planned) > 0 {
		r.palFail[fn] = planned[1:]
		status = agent.PALStatus(parseHex32(planned[0]))
		items = append(items, planned[0])
	}
	r.record(items...)
	return status
}

func cText(t agent.Text) any {
	if t.Null {
		return nil
	}
	return t.S
}

func (r *rig) CreateFile(f *agent.File) agent.PALStatus {
	sum := sha256.Sum256(f.Signature)
	context := map[string]any{"size": int(f.Size), "file_id": int(f.ID), "path": cText(f.Path), "cert": cText(f.Cert),
		"sig_len": len(f.Signature), "sig": hex.EncodeToString(sum[:4]), "attr": int(f.Attr)}
	if !r.cfg.Profile.Task2018 {
		context["type"] = int(f.Type)
	}
	status := r.pal("create", "pal_create", context)
	if status.Main() == 0 {
		r.fileOpen = true
	}
	return status
}

func (r *rig) WriteBlock(f *agent.File, offset uint32, data []byte) int {
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
func (r *rig) CloseFile(*agent.File) agent.PALStatus {
	r.fileOpen = false
	return r.pal("close", "pal_close")
}
func (r *rig) AbortFile(*agent.File) agent.PALStatus {
	r.fileOpen = false
	return r.pal("abort", "pal_abort")
}
func (r *rig) ActivateImage(*agent.File) agent.PALStatus { return r.pal("activate", "pal_activate") }
func (r *rig) ResetDevice(*agent.File) agent.PALStatus   { return r.pal("reset", "pal_reset") }
func (r *rig) SetPlatformState(_ *agent.File, s agent.ImageState) agent.PALStatus {
	return r.pal("setstate", "pal_set_state", int(s))
}
func (r *rig) PlatformState() agent.PlatformState { return r.platform }
func (r *rig) QueueFull(agent.EventID) {
	r.record("queue_full")
	if r.cfg.QueueLength == 0 {
		if r.failing("queue"); r.fails["queue"] == 0 {
			r.cfg.QueueLength = r.trace.Queue
		}
	}
}
func (r *rig) Alloc(int) bool {
	if r.mallocSkip > 0 {
		r.mallocSkip--
		return true
	}
	return !r.failing("malloc")
}

func (r *rig) Callback(a *agent.Agent, c agent.Callback, info agent.Info) agent.CustomStatus {
	var job any = info.Job
	if info.JobNull {
		job = nil
	}
	switch {
	case r.cfg.Profile.Task2018:
		if c == agent.CallbackProcessed {
			return agent.CustomStatus{} // it gives its buffers back to the MQTT client
		}
		r.record("cb", c.String())
	case c == agent.CallbackActivate || c == agent.CallbackFail || c == agent.CallbackUpdateComplete:
		r.record("cb", c.String(), map[string]any{"job": job, "status": int(info.Status), "reason": int(int32(info.Reason)),
			"sub": int(int32(info.Sub)), "type": int(info.FileType)})
	case c == agent.CallbackReceivedJob:
		r.record("cb", c.String(), map[string]any{"job": job, "type": int(info.FileType)})
	case c == agent.CallbackParseCustomJob:
		r.record("cb", c.String(), map[string]any{"job": job, "doc_len": len(info.Document)})
	default:
		r.record("cb", c.String())
	}
	switch c {
	case agent.CallbackActivate:
		if r.onActivate != "none" {
			r.record("ret", "activate", int(a.Activate(r)))
		}
		if r.onActivate == "activate_shutdown" {
			a.ShutdownAgent(r, true)
			r.record("ret", "shutdown", r.number(a))
		}
	case agent.CallbackStartTest:
		switch r.onStart {
		case "accept":
			r.record("ret", "set_image_state", int(a.SetImageState(r, agent.ImageAccepted)))
		case "reject":
			r.record("ret", "set_image_state", int(a.SetImageState(r, agent.ImageRejected)))
		}
	case agent.CallbackSelfTestFailed:
		if r.trace.OnSelfTestFailed == "shutdown" {
			a.ShutdownAgent(r, true)
			r.record("ret", "shutdown", r.number(a))
		}
	case agent.CallbackParseCustomJob:
		if v, ok := r.trace.OnCustom.([]any); ok {
			return agent.CustomStatus{Claimed: true, Status: agent.Status(v[0].(float64)), Reason: uint32(v[1].(float64)), Sub: uint32(v[2].(float64))}
		}
	}
	return agent.CustomStatus{}
}

// number is a state as the agent numbers it.
func (r *rig) number(a *agent.Agent) int {
	s := a.View().State
	if r.cfg.Profile.Task2018 {
		return s.Number2018()
	}
	return int(s)
}
