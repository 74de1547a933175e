package device

import (
	"strings"
	"time"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/device/firmware"
)

// step is the application: the connection task, and the agent behind it.
func (r *ram) step(d *Device, ev Event) {
	if ev.Kind == Wake {
		now := d.flash.Clock()
		for {
			t, due, ok := r.nextTimer()
			if !ok || due > now {
				return
			}
			r.timers[t] = unarmed
			if d.expired(t); d.ram != r {
				return // restarted
			}
		}
	}
	if r.stage != stageApp {
		return
	}
	switch ev.Kind {
	case Connected:
		if !r.connected {
			d.joined()
		}
	case ConnectFailed:
		d.log('E', "mqtt", "connect failed: %s", ev.Err)
		d.backOff()
	case Disconnected:
		if r.connected {
			d.left(ev.Err)
		}
	case Message:
		if r.connected {
			d.received(ev)
		}
	case Acked:
		if d.acked(ev.ID) {
			return
		}
		if r.reported && ev.ID == r.reportID {
			d.reportAcked()
		}
	case HTTPResponse:
		d.fetched(ev)
	case HTTPFailed:
		d.fetchFailed(ev)
	}
}

func (d *Device) expired(t timer) {
	r := d.ram
	switch t {
	case timerAgentRequest:
		r.agent.Expired(d, agent.TimerRequest)
		d.runAgent()
	case timerAgentSelfTest:
		d.log('E', "ota_agent", "self test not finished in time")
		r.agent.Expired(d, agent.TimerSelfTest)
	case timerWatchdog:
		d.reset(bootloader.RTCWatchdogChip)
	case timerRestart:
		d.reset(bootloader.SoftwareCPU)
	case timerConnect:
		d.connect()
	case timerVerdict:
		d.verdict()
	case timerTelemetry:
		d.telemetry()
	case timerAck:
		r.acks = r.acks[:0]
		d.runAgent()
	}
}

func (d *Device) connect() {
	r := d.ram
	d.flash.Advance(d.model.TLS)
	id := d.credentials()
	d.point(PointConnect, int(r.attempts))
	op := NetOp{Kind: OpConnect, ClientID: id.ThingName, Certificate: id.Certificate, Key: id.Key, CA: id.CA,
		KeepAlive: d.model.KeepAlive, CleanSession: true}
	if d.old() {
		op.KeepAlive, op.Ping = keepAlive2018, ping2018
	}
	d.emit(op)
}

// The demo of 2018 (aws/amazon-freertos demos/common/ota/aws_ota_update_demo.c and lib/mqtt/aws_mqtt_agent.c at v1.4.0)
// tries to connect every second for ever. Once its agent runs it never looks at the connection again: the agent is not
// told of its end, and nothing reconnects.
const (
	keepAlive2018 = 1200 // seconds
	ping2018      = 300 * time.Second
	retry2018     = time.Second
	buffer2018    = 2176 // bytes of an MQTT packet; longer ones are dropped
	publishHead   = 7    // bytes of a PUBLISH besides topic and payload
)

// backOff waits before the next attempt: full jitter below a bound that doubles.
func (d *Device) backOff() {
	r := d.ram
	base, most := d.model.BackoffBase, d.model.BackoffMax
	if d.glue.Base > 0 {
		base = d.glue.Base
	}
	if d.glue.Max > 0 {
		most = d.glue.Max
	}
	bound := min(base<<min(r.attempts, 16), most)
	r.attempts++
	if limit := d.glue.Attempts; limit > 0 && int(r.attempts) >= limit {
		d.log('E', "mqtt", "assertion failed: no connection after %d attempts", r.attempts)
		d.restart(bootloader.ProCPU, 0)
		return
	}
	if d.old() {
		r.timers[timerConnect] = d.flash.Clock() + retry2018
		return
	}
	r.timers[timerConnect] = d.flash.Clock() + d.jitter(bound)
}

// jitter draws from a stream that belongs to this device, boot and attempt.
func (d *Device) jitter(bound time.Duration) time.Duration {
	h := uint64(14695981039346656037)
	for i := range len(d.thing) {
		h = (h ^ uint64(d.thing[i])) * 1099511628211
	}
	h += uint64(d.boots)<<16 + uint64(d.ram.attempts)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return time.Duration(h % uint64(bound+1))
}

func (d *Device) joined() {
	r := d.ram
	r.connected, r.attempts, r.identity = true, 0, nil
	r.timers[timerConnect] = unarmed
	if r.phase == PhaseBoot {
		r.phase = PhaseIdle
	}
	if every := r.behaviour.Telemetry.Every; every > 0 {
		r.timers[timerTelemetry] = d.flash.Clock() + d.jitter(every)
	}
	d.log('I', "mqtt", "connected as %s", r.thing)
	d.point(PointConnected, 0)
	if !r.joined || r.agent.View().State == agent.NotReady {
		r.joined = true
		r.agent.Initialise(d)
		r.agent.Signal(d, agent.Start, nil)
	} else {
		r.agent.ResumeAgent(d)
	}
	d.runAgent()
}

func (d *Device) left(why string) {
	r := d.ram
	r.connected, r.reported = false, false
	r.timers[timerTelemetry], r.timers[timerAck], r.acks = unarmed, unarmed, r.acks[:0]
	d.log('W', "mqtt", "connection lost: %s", why)
	if d.old() {
		if r.agent.View().State == agent.NotReady {
			d.backOff()
		}
		return
	}
	r.agent.SuspendAgent(d)
	d.runAgent()
	if !d.glue.Never {
		d.backOff()
	}
}

// buffer2022 is the network buffer of the newest demo for blocks of 4 KiB; builds with larger blocks have one that fits
// (aws/amazon-freertos vendors/espressif/boards/esp32/aws_demos/config_files, demos/ota).
const buffer2022 = 5000

// tooLong reports whether a packet does not fit into the network buffer. It is read from the socket and dropped.
func (d *Device) tooLong(ev *Event) bool {
	if d.old() {
		return len(ev.Topic)+len(ev.Payload) > buffer2018-publishHead
	}
	limit := buffer2022 + max(0, int(d.builds[0].BlockSize())-4096)
	return len(ev.Topic)+len(ev.Payload) > limit-publishHead
}

func (d *Device) received(ev Event) {
	r := d.ram
	if d.tooLong(&ev) {
		d.log('W', "mqtt", "packet of %d bytes does not fit", len(ev.Topic)+len(ev.Payload))
		return
	}
	if d.hooks != nil && d.hooks.Memory != nil {
		if !d.hooks.Memory(d, d.flash.Clock(), 0) {
			d.log('E', "mqtt", "no buffer for a message on %s", ev.Topic)
			return
		}
	}
	now := d.flash.Clock()
	arrived := now
	if ev.Arrived > 0 {
		arrived = min(ev.Arrived, now)
	}
	cfg := &d.builds[0]
	if ok, full := r.mail.takes(cfg, arrived); !ok {
		if full {
			d.QueueFull(agent.ReceivedFileBlock)
		} else {
			d.log('E', "ota_agent", "no buffer for a message: lost")
		}
		return
	}
	if cfg.Profile.DeafWhileErasing && arrived > r.deaf[0] && arrived < r.deaf[1] {
		// It was queued ahead of what follows the erase, and came up in a state that does not expect it.
		d.log('W', "ota_agent", "message while the file is created: dropped")
		r.mail.keep(cfg, r.deaf[1], r.deaf[1])
		return
	}
	r.mail.back = false
	d.handle(ev)
	switch {
	case d.ram != r || r.stage != stageApp:
	case r.mail.back || d.old():
		r.mail.keep(cfg, now, d.flash.Clock())
	default:
		r.mail.lost++
		d.log('W', "ota_agent", "the buffer of a message is lost")
	}
}

// handle gives the agent a message for which there is a buffer.
func (d *Device) handle(ev Event) {
	r := d.ram
	switch {
	case d.builds[0].Profile.TakesForBlock(ev.Topic):
		d.flash.Advance(d.model.CBOR)
		if d.hooks != nil && d.hooks.Point != nil {
			if b, err := agent.DecodeBlock(ev.Payload, len(ev.Payload)); err == nil {
				d.point(PointBlockReceived, int(b.Index))
			}
		}
		if r.mail.back = !r.agent.Receives(ev.Topic); !r.mail.back {
			r.agent.Signal(d, agent.ReceivedFileBlock, ev.Payload)
		}
	case strings.HasSuffix(ev.Topic, "/jobs/notify-next"), strings.HasSuffix(ev.Topic, "/jobs/$next/get/accepted"):
		d.flash.Advance(d.model.JSON)
		d.point(PointJobReceived, len(ev.Payload))
		r.agent.Signal(d, agent.ReceivedJobDocument, ev.Payload)
	default:
		r.mail.back = true
		return
	}
	d.runAgent()
}

// runAgent lets the agent task work off its queue.
func (d *Device) runAgent() {
	r := d.ram
	for r.stage == stageApp && r.agent.Pending() && !r.fetching() && !d.waits() {
		r.agent.Process(d, 1)
		if r.agent.Crash != "" {
			d.log('E', "panic", "%s", r.agent.Crash)
			d.restart(bootloader.ProCPU, 0)
		}
	}
	if s := r.agent.View().State; r.phase == PhaseDownload && r.stage == stageApp && (s == agent.WaitingForJob || s == agent.Ready) {
		r.phase = PhaseIdle
	}
}

// restart ends all work; the chip resets after the delay.
func (d *Device) restart(reason bootloader.ResetReason, delay time.Duration) {
	r := d.ram
	if r.stage == stageRestart {
		return
	}
	r.stage, r.phase = stageRestart, PhaseReset
	d.point(PointReset, 0)
	r.timers[timerRestart] = d.flash.Clock() + delay
	r.reason = reason
}

// selfTest begins the application's own test of the new image.
func (d *Device) selfTest() {
	r := d.ram
	r.phase = PhaseSelfTest
	d.log('I', "app", "self test started")
	d.point(PointSelfTest, 0)
	if r.behaviour.Duration == 0 {
		d.verdict()
		return
	}
	r.timers[timerVerdict] = d.flash.Clock() + r.behaviour.Duration
}

// telemetry publishes one message, and plans the next.
func (d *Device) telemetry() {
	r := d.ram
	t := &r.behaviour.Telemetry
	r.timers[timerTelemetry] = d.flash.Clock() + t.Every
	d.flash.Advance(d.model.JSON)
	op := NetOp{Kind: OpPublish, Topic: TelemetryTopic(r.thing), QoS: t.QoS, Payload: blank(t.Size)}
	if t.QoS > 0 {
		op.ID = d.packetID()
	}
	d.emit(op)
}

// TelemetryTopic is where a thing publishes its telemetry.
func TelemetryTopic(thing string) string { return "dt/" + thing + "/telemetry" }

var zeros [128 << 10]byte

// blank is a payload: only its length matters.
func blank(n int) []byte { return zeros[:max(min(n, len(zeros)), 0)] }

func (d *Device) verdict() {
	r := d.ram
	switch outcome := r.behaviour.Outcome(r.thing); outcome {
	case firmware.Online, firmware.Pass, firmware.Slow:
		if outcome == firmware.Online && !r.connected {
			r.timers[timerVerdict] = d.flash.Clock() + time.Second
			return
		}
		d.log('I', "app", "self test passed")
		r.phase = PhaseConfirm
		d.point(PointConfirm, 0)
		r.agent.SetImageState(d, agent.ImageAccepted)
		if r.phase == PhaseConfirm && !r.reported {
			r.phase = PhaseIdle
		}
	case firmware.Fail:
		if d.boot.Defects.Has(defect.RejectIgnored) {
			r.agent.SetImageState(d, agent.ImageAccepted)
			return
		}
		d.log('E', "app", "self test failed")
		r.agent.SetImageState(d, agent.ImageRejected)
		d.restart(bootloader.SoftwareCPU, d.model.ResetDelay)
	case firmware.Crash:
		d.log('E', "panic", "self test crashed")
		d.restart(bootloader.ProCPU, 0)
	case firmware.Hang:
		r.stage = stageHung
		if r.timers[timerWatchdog] == unarmed {
			r.timers[timerWatchdog] = d.flash.Clock() + d.model.TaskWDT
		}
	}
}

func (d *Device) reportAcked() {
	r := d.ram
	r.reported = false
	d.point(PointReported, 0)
	if r.phase == PhaseConfirm {
		r.phase = PhaseIdle
	}
	if r.restart && d.model.RestartAfterConfirm {
		d.log('I', "app", "update confirmed, restarting to drop the older firmware")
		d.restart(bootloader.SoftwareCPU, d.model.ResetDelay)
	}
}

func (d *Device) emit(op NetOp) {
	op.At = d.flash.Clock()
	d.ops = append(d.ops, op)
}

func (d *Device) packetID() uint16 {
	r := d.ram
	if r.nextID++; r.nextID == 0 {
		r.nextID = 1
	}
	return r.nextID
}
