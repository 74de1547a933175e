package device

import (
	"slices"
	"time"

	"github.com/otasim/otasim/device/bootloader"
)

// pendingAck is a packet whose acknowledgement has not come.
type pendingAck struct {
	id uint16
	at time.Duration // when it was sent
}

// The waits of the demos: amazon-freertos demos/ota/ota_demo_core_mqtt, MQTT_COMMAND_TIMEOUT; the SDK's demo adds milliseconds
// to seconds.
const (
	ackWait     = 5 * time.Second
	ackWaitLong = 5000 * time.Second
)

// expectAck notes a packet, for the profiles to which its acknowledgement matters. Others act at once, as if it had come.
func (d *Device) expectAck(id uint16) {
	r, now := d.ram, d.flash.Clock()
	r.acks = append(r.acks, pendingAck{id, now})
	if d.builds[0].Profile.AwaitsAcks {
		r.timers[timerAck] = now + ackWaitLong
	}
}

// waits reports whether the agent's task is in a publish that waits.
func (d *Device) waits() bool { return len(d.ram.acks) > 0 && d.builds[0].Profile.AwaitsAcks }

// acked notes an acknowledgement, and lets a task go on that waited for it; died says that the program did not live through it.
func (d *Device) acked(id uint16) (died bool) {
	r, now := d.ram, d.flash.Clock()
	i := slices.IndexFunc(r.acks, func(a pendingAck) bool { return a.id == id })
	if i < 0 {
		return false
	}
	late := now-r.acks[i].at > ackWait
	r.acks = slices.Delete(r.acks, i, i+1)
	if late && d.builds[0].Profile.LateAckKills {
		d.log('E', "panic", "%s", "acknowledgement written to a stack frame that is gone")
		d.restart(bootloader.ProCPU, 0)
		return true
	}
	if len(r.acks) == 0 && r.timers[timerAck] != unarmed {
		r.timers[timerAck] = unarmed
		d.runAgent()
	}
	return d.ram != r
}
