package vectors

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/otasim/otasim/device/agent"
)

func (r *rig) payload(s *traceStep, i, l int64) []byte {
	if s.P != nil {
		return xorshift(uint32(s.P[0]), int(s.P[1]))
	}
	seed := uint32(r.fs + 0x9E3779B9*uint64(uint32(i)+1))
	return xorshift(seed, int(l))
}

func cborHead(dst []byte, major byte, n uint32) []byte {
	switch {
	case n < 24:
		return append(dst, major<<5|byte(n))
	case n < 1<<8:
		return append(dst, major<<5|24, byte(n))
	case n < 1<<16:
		return append(dst, major<<5|25, byte(n>>8), byte(n))
	}
	return append(dst, major<<5|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func cborInt(dst []byte, v int64) []byte {
	major, n := byte(0), uint64(v)
	if v < 0 {
		major, n = 1, uint64(-1-v)
	}
	if n > 0xffffffff {
		return append(dst, major<<5|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return cborHead(dst, major, uint32(n))
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
	return append(cborHead(append(msg, 0x61, 'p'), 2, uint32(len(p))), p...)
}

func (r *rig) process(s *traceStep) {
	limit := -1
	if s.Run != nil {
		limit = *s.Run
	}
	r.a.Process(r, limit)
}

func (r *rig) deliver(id agent.EventID, data []byte) {
	if r.a.View().State == agent.Stopped && !r.cfg.Profile.ShutdownWipes {
		r.record("not_queued")
		return
	}
	r.a.Signal(r, id, data)
}

func (r *rig) step(s *traceStep, docs [][]byte) error {
	ret := func(name string, v int) { r.record("ret", name, v) }
	count := func(call string) {
		r.fails[call] = 0
		if !s.Ok {
			r.fails[call] = s.N
		}
	}
	switch s.K {
	case "start":
		number := r.number(&r.a)
		if err := r.a.Initialise(r); !r.cfg.Profile.Task2018 {
			number = int(err)
		}
		ret("init", number)
		r.deliver(agent.Start, nil)
	case "init":
		ret("init", int(r.a.Initialise(r)))
	case "start_event":
		r.a.Signal(r, agent.Start, nil)
	case "job_doc", "notify_next":
		r.deliver(agent.ReceivedJobDocument, docs[s.Doc])
	case "block":
		r.deliver(agent.ReceivedFileBlock, r.blockMessage(s, s.I, s.L))
	case "blocks":
		for i := s.From; i <= s.To; i++ {
			l := min(int64(r.cfg.BlockSize()), s.Size-i*int64(r.cfg.BlockSize()))
			r.deliver(agent.ReceivedFileBlock, r.blockMessage(s, i, l))
			r.a.Process(r, -1)
		}
	case "http_body":
		p := r.payload(s, s.I, s.L)
		r.deliver(agent.ReceivedFileBlock, p)
	case "request_timer", "self_test_timer":
		t := agent.TimerRequest
		if s.K == "self_test_timer" {
			t = agent.TimerSelfTest
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
		ret("shutdown", r.number(&r.a))
	case "user_abort":
		ret("set_image_state", int(r.a.SetImageState(r, agent.ImageAborted)))
	case "set_image_state":
		states := map[string]agent.ImageState{"Testing": agent.ImageTesting, "Accepted": agent.ImageAccepted, "Rejected": agent.ImageRejected, "Aborted": agent.ImageAborted}
		ret("set_image_state", int(r.a.SetImageState(r, states[s.V])))
	case "request_job_event":
		r.a.Signal(r, agent.RequestJobDocument, nil)
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
		return nil
	default:
		return fmt.Errorf("unknown step %q", s.K)
	}
	r.process(s)
	return nil
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
