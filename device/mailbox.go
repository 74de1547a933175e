package device

import (
	"time"

	"github.com/otasim/otasim/device/agent"
)

// mailbox is what stands between the MQTT task, which takes messages from the network at any time, and the agent's task,
// which works on one after the other:
//
//	arrival ---- event queue ---- start ======== processed
//	|<-------------- buffer of the application ----------->|
//
// A message that finds no free buffer, or no room in the event queue, is lost (otaconfigMAX_NUM_OTA_DATA_BUFFERS;
// aws/amazon-freertos demos/ota/ota_demo_core_mqtt otaEventBufferGet, and the six messages of v1.4.0's queue). The device
// gets a message when its CPU is free, with the time of its arrival, so it looks back: the ring has when the latest
// messages left the queue and their buffers.
type mailbox struct {
	ring []held
	next int  // in the ring, once it is full
	lost int  // buffers that no message will get again (C32)
	back bool // the buffer of the message in hand was given back
}

type held struct{ start, end time.Duration }

// takes reports whether a message that arrived at a time found a place. queueFull tells a full queue from missing buffers.
func (m *mailbox) takes(cfg *agent.Config, at time.Duration) (ok, queueFull bool) {
	queued, used := 0, m.lost
	for _, h := range m.ring {
		if h.start > at {
			queued++
		}
		if h.end > at {
			used++
		}
	}
	switch {
	case !cfg.Profile.Task2018 && used >= cfg.Buffers():
		return false, false
	case queued >= cfg.QueueLength:
		if cfg.Profile.LosesBuffer {
			m.lost++
		}
		return false, true
	}
	return true, false
}

// keep notes a message that was taken. The ring has as many as can ever be held at a time.
func (m *mailbox) keep(cfg *agent.Config, start, end time.Duration) {
	size := cfg.Buffers()
	if cfg.Profile.Task2018 {
		size = cfg.QueueLength
	}
	if len(m.ring) < size {
		if m.ring == nil {
			m.ring = make([]held, 0, min(size, 4))
		}
		m.ring = append(m.ring, held{start, end})
		return
	}
	m.ring[m.next] = held{start, end}
	m.next = (m.next + 1) % size
}

func (m *mailbox) clone() mailbox {
	c := *m
	c.ring = append([]held(nil), m.ring...)
	return c
}
