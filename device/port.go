package device

import (
	"bytes"
	"strings"
	"time"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel/partition"
)

// The device is the agent's port. Once a restart is decided the agent's task is stuck in the delay: whatever it would
// still do does not happen.

func (d *Device) dead() bool { return d.ram.stage != stageApp }

// old reports whether the agent of 2018 and its demo run.
func (d *Device) old() bool { return d.builds[0].Profile.Task2018 }

// status is a result of the platform layer in the numbers of its generation.
func (d *Device) status(s agent.PALStatus) agent.PALStatus {
	if d.old() && s != 0 {
		return s.Of2018()
	}
	return s
}

// Subscribe implements agent.Port.
func (d *Device) Subscribe(qos byte, topic string) bool {
	if d.dead() || !d.ram.connected {
		return false
	}
	op := NetOp{Kind: OpSubscribe, ID: d.packetID(), Topic: topic, QoS: qos}
	if d.builds[0].Profile.LateAckKills {
		d.expectAck(op.ID)
	}
	d.emit(op)
	return true
}

// Unsubscribe implements agent.Port.
func (d *Device) Unsubscribe(_ byte, topic string) bool {
	if d.dead() || !d.ram.connected {
		return false
	}
	d.emit(NetOp{Kind: OpUnsubscribe, ID: d.packetID(), Topic: topic})
	return true
}

var (
	succeeded = []byte(`{"status":"SUCCEEDED"`)
	failed    = []byte(`{"status":"FAILED"`)
	ready     = []byte(`"self_test":"ready"`)
)

// Publish implements agent.Port. Waiting for a PUBACK is not modelled: a publish succeeds when there is a session.
func (d *Device) Publish(qos byte, topic string, payload []byte) bool {
	r := d.ram
	if d.dead() {
		return false
	}
	if qos == 0 && strings.HasSuffix(topic, "/get/cbor") {
		if !r.connected {
			return false
		}
		d.flash.Advance(d.model.CBOR)
		d.point(PointBlockRequested, 0)
		d.emit(NetOp{Kind: OpPublish, Topic: topic, Payload: payload})
		return true
	}
	d.flash.Advance(d.model.JSON)
	final := bytes.HasPrefix(payload, succeeded) || bytes.HasPrefix(payload, failed)
	if final {
		d.point(PointReport, 0)
	} else if bytes.Contains(payload, ready) {
		d.point(PointReady, 0)
	}
	d.log('I', "ota_agent", "publish %s %s", topic, payload)
	if !r.connected {
		return false
	}
	op := NetOp{Kind: OpPublish, Topic: topic, QoS: qos, Payload: payload}
	if qos > 0 {
		op.ID = d.packetID()
		if p := d.builds[0].Profile; p.LateAckKills || p.AwaitsAcks {
			d.expectAck(op.ID)
		}
	}
	if final {
		r.reported, r.reportID = true, op.ID
		r.restart = r.running.Trial && r.running.Confirmed && bytes.HasPrefix(payload, succeeded)
	}
	d.emit(op)
	return true
}

var agentTimers = [...]timer{agent.TimerRequest: timerAgentRequest, agent.TimerSelfTest: timerAgentSelfTest}

// StartTimer implements agent.Port.
func (d *Device) StartTimer(t agent.Timer, ms uint32) bool {
	if d.dead() {
		return false
	}
	if d.builds[0].Profile.TimersWholeSeconds {
		ms -= ms % 1000
		if ms == 0 {
			d.StopTimer(t)
			return true
		}
	}
	d.ram.timers[agentTimers[t]] = d.flash.Clock() + time.Duration(ms)*time.Millisecond
	return true
}

// StopTimer implements agent.Port.
func (d *Device) StopTimer(t agent.Timer) { d.ram.timers[agentTimers[t]] = unarmed }

// DeleteTimer implements agent.Port.
func (d *Device) DeleteTimer(t agent.Timer) { d.ram.timers[agentTimers[t]] = unarmed }

// CreateFile implements agent.Port.
func (d *Device) CreateFile(f *agent.File) agent.PALStatus {
	r := d.ram
	if d.dead() {
		return agent.PALFileCreate
	}
	r.phase = PhaseDownload
	d.point(PointSlotErase, 0)
	r.deaf[0] = d.flash.Clock()
	status := d.status(r.pal.Create(f))
	r.deaf[1] = d.flash.Clock()
	if status == 0 {
		d.log('I', "ota_pal", "writing %d bytes to %s at 0x%x", f.Size, r.pal.Slot().Label, r.pal.Slot().Offset)
	} else {
		d.log('E', "ota_pal", "cannot open a slot: 0x%08x", uint32(status))
	}
	return status
}

// WriteBlock implements agent.Port.
func (d *Device) WriteBlock(_ *agent.File, offset uint32, data []byte) int {
	if d.dead() {
		return -1
	}
	n := d.ram.pal.Write(offset, data)
	d.point(PointBlockProgrammed, int(offset/d.builds[0].BlockSize()))
	return n
}

// CloseFile implements agent.Port.
func (d *Device) CloseFile(f *agent.File) agent.PALStatus {
	r := d.ram
	if d.dead() {
		return agent.PALFileClose
	}
	d.point(PointDownloadComplete, 0)
	r.phase = PhaseVerify
	d.point(PointVerify, 0)
	status := d.status(r.pal.Close(f, d.signer(f.Cert.S)))
	if status.Main() == 0 && f.Type != 0 && !d.old() {
		status = d.install(f)
	}
	if status.Main() == 0 {
		d.log('I', "ota_pal", "signature of %d bytes is good", f.Size)
	} else {
		d.log('E', "ota_pal", "file refused: 0x%08x", uint32(status))
		r.phase = PhaseIdle
	}
	return status
}

// install copies a file that is no firmware from the slot to the data partition that it is named after. The ports leave
// it in the slot; what becomes of it is the application's business, here before the job is reported SUCCEEDED.
func (d *Device) install(f *agent.File) agent.PALStatus {
	label := strings.TrimPrefix(f.Path.S, "/")
	for _, r := range d.layout().table {
		if r.Type != partition.TypeData || r.Label != label {
			continue
		}
		d.point(PointDataProgram, 0)
		if !d.ram.pal.Install(r, f.Size) {
			return agent.PALFileClose
		}
		d.log('I', "app", "%d bytes copied to %s", f.Size, label)
		return 0
	}
	d.log('W', "app", "no data partition for %s of type %d: it stays in the slot", f.Path.S, f.Type)
	return 0
}

// AbortFile implements agent.Port.
func (d *Device) AbortFile(*agent.File) agent.PALStatus {
	if d.dead() {
		return 0
	}
	if d.ram.phase == PhaseDownload || d.ram.phase == PhaseVerify {
		d.ram.phase = PhaseIdle
	}
	return d.ram.pal.Abort()
}

// ActivateImage implements agent.Port.
func (d *Device) ActivateImage(*agent.File) agent.PALStatus {
	r := d.ram
	if d.dead() {
		return 0
	}
	r.pal.Activate(func() {
		r.phase = PhaseOtadata
		d.point(PointOtadataProgram, 0)
	})
	if r.pal.Defects.Has(defect.NeverRestarts) {
		return 0
	}
	d.log('I', "ota_pal", "restarting into %s", r.pal.Slot().Label)
	d.restart(bootloader.SoftwareCPU, d.model.ResetDelay)
	return 0
}

// ResetDevice implements agent.Port.
func (d *Device) ResetDevice(*agent.File) agent.PALStatus {
	if !d.dead() {
		d.log('W', "ota_pal", "restarting")
		d.restart(bootloader.SoftwareCPU, d.model.ResetDelay)
	}
	return 0
}

// SetPlatformState implements agent.Port.
func (d *Device) SetPlatformState(_ *agent.File, s agent.ImageState) agent.PALStatus {
	r := d.ram
	if d.dead() {
		return agent.PALCommitFailed
	}
	status, decided := r.pal.SetState(s)
	status = d.status(status)
	if decided {
		r.timers[timerWatchdog] = unarmed
		if s == agent.ImageAccepted {
			r.running.Confirmed = true
			d.log('I', "ota_pal", "image confirmed: otadata VALID")
			d.revokeKeys()
		} else {
			d.log('W', "ota_pal", "image refused")
		}
	}
	return status
}

// PlatformState implements agent.Port.
func (d *Device) PlatformState() agent.PlatformState { return d.ram.pal.State() }

// Callback implements agent.Port: the application.
func (d *Device) Callback(a *agent.Agent, c agent.Callback, info agent.Info) agent.CustomStatus {
	if d.dead() {
		return agent.CustomStatus{}
	}
	switch c {
	case agent.CallbackActivate:
		a.Activate(d)
	case agent.CallbackStartTest:
		d.selfTest()
	case agent.CallbackProcessed:
		d.ram.mail.back = true
	case agent.CallbackReceivedJob:
		d.log('I', "ota_agent", "job %s", info.Job)
	case agent.CallbackFail:
		d.log('E', "ota_agent", "update failed: 0x%08x 0x%08x", info.Reason, info.Sub)
	}
	return agent.CustomStatus{}
}

// QueueFull implements agent.Port.
func (d *Device) QueueFull(id agent.EventID) {
	d.log('E', "ota_agent", "event queue full: %v lost", id)
}

// heapBlock is the largest block that the heap of an ESP32 without PSRAM gives once Wi-Fi and TLS have theirs.
const heapBlock = 96 << 10

// Alloc implements agent.Port.
func (d *Device) Alloc(bytes int) bool {
	if d.hooks != nil && d.hooks.Memory != nil {
		if !d.hooks.Memory(d, d.flash.Clock(), max(bytes, 1)) {
			d.log('E', "ota_agent", "no memory for %d bytes", bytes)
			return false
		}
	}
	return bytes <= heapBlock
}
