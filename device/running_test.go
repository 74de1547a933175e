package device

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/partition"
)

// after runs an update to an image with a behaviour, under a profile, and returns how it ended.
func after(t *testing.T, profile *agent.Profile, behaviour firmware.Behaviour, glue Glue) *bench {
	cloud := offer(t)
	catalogue := &firmware.Catalogue{}
	require.NoError(t, catalogue.Add(cloud.file, behaviour))
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, catalogue, nil)
	reconfigure(t, b, profile)
	b.d.glue = glue
	return b
}

// TestSlowSelfTest: the library stops its timer before the verdict (C22), so only ideal and 2018 guard a slow test.
func TestSlowSelfTest(t *testing.T) {
	for profile, want := range map[*agent.Profile]string{agent.Ideal: "FAILED", agent.Main: "SUCCEEDED", agent.AFR142: "FAILED"} {
		b := after(t, profile, firmware.Behaviour{SelfTest: firmware.Slow, Duration: firmware.SlowTest}, Glue{})
		b.step(Event{Kind: PowerOn})
		b.run(time.Hour)
		require.Equal(t, want, b.cloud.status, profile.Name)
	}
}

// TestSelfTestNeedsConnection: the connection ends while the test runs. The test waits for the next one. The
// library asks for its job when the connection is back, takes it for a download during a trial, and resets;
// without a connection only the RTC watchdog ends the trial.
func TestSelfTestNeedsConnection(t *testing.T) {
	for _, c := range []struct {
		profile *agent.Profile
		pause   time.Duration // without a connection
		version string
		history string
	}{
		{agent.Ideal, 8 * time.Second, "1.1.0", `SUCCEEDED {"reason":"accepted  v1.1.0","updatedBy":"  v1.0.0"}`},
		{agent.Ideal, 20 * time.Second, "1.1.0", `SUCCEEDED {"reason":"accepted  v1.1.0","updatedBy":"  v1.0.0"}`},
		{agent.Ideal, 5 * time.Minute, "1.0.0", `FAILED {"reason":"rejected: 0x0000000f"}`},
		{agent.Main, 8 * time.Second, "1.0.0", `FAILED {"reason":"rejected: 0x0000000f"}`},
		{agent.Main, 5 * time.Minute, "1.0.0", `FAILED {"reason":"rejected: 0x0000000f"}`},
	} {
		b := after(t, c.profile, firmware.Behaviour{SelfTest: firmware.Online, Duration: 5 * time.Second}, Glue{})
		b.step(Event{Kind: PowerOn})
		b.until(func() bool { return b.d.Phase() == PhaseSelfTest })
		b.cloud.refuse, b.queue = true, nil
		b.step(Event{Kind: Disconnected, Err: "cut"})
		b.run(b.now + c.pause)
		b.cloud.refuse = false
		b.run(b.now + time.Hour)
		require.Equal(t, c.version, b.d.ram.running.Version, "%s %v", c.profile.Name, c.pause)
		require.Equal(t, c.history, b.cloud.history[len(b.cloud.history)-1], "%s %v", c.profile.Name, c.pause)
	}
}

// TestPowerCutInData cuts the power at every stage of the copy to a data partition: the file is fetched again.
func TestPowerCutInData(t *testing.T) {
	p := part(t, partition.TypeData, partition.SubtypePHY)
	for _, delay := range []time.Duration{0, time.Microsecond, 20 * time.Millisecond, 46 * time.Millisecond, 50 * time.Millisecond} {
		cloud := offer(t)
		cloud.file = cloud.file[:3000]
		cloud.sig, cloud.path, cloud.fileType = sign(cloud.file), "/phy_init", 7
		cut := false
		b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, &Hooks{
			Point: func(d *Device, now time.Duration, at Point, _ int) {
				if at == PointDataProgram && !cut {
					cut = true
					d.Flash().SetCutAt(max(now+delay, 1))
				}
			}})
		b.step(Event{Kind: PowerOn})
		b.run(time.Hour)
		require.Equal(t, 1, b.lost)
		require.Equal(t, "SUCCEEDED", cloud.status)
		got := make([]byte, 3000)
		require.NoError(t, b.d.flash.Read(p.Offset, got))
		require.Equal(t, cloud.file, got, "%v", delay)
	}
}

// TestWrongPassword: an image that cannot connect is ended by the RTC watchdog.
func TestWrongPassword(t *testing.T) {
	b := after(t, agent.AFR142, firmware.Behaviour{NoWiFi: true}, Glue{})
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	require.Equal(t, `FAILED {"reason":"rejected: 0x23000000"}`, b.cloud.history[len(b.cloud.history)-1])
	require.Equal(t, "1.0.0", b.d.ram.running.Version)
}

// TestTelemetry: one message every period while connected, and none without a connection.
func TestTelemetry(t *testing.T) {
	b := after(t, agent.Ideal, firmware.Behaviour{Telemetry: firmware.Telemetry{Every: 10 * time.Second, Size: 200, QoS: 1}}, Glue{Never: true})
	b.step(Event{Kind: PowerOn})
	b.until(func() bool { return b.cloud.status == "SUCCEEDED" && b.d.Connected() && b.d.Phase() == PhaseIdle })
	sent := 0
	for begun := b.d.BusyUntil(); b.d.BusyUntil() < begun+100*time.Second; {
		at, ok := b.d.NextWake()
		require.True(t, ok)
		b.d.Step(at, Event{Kind: Wake})
		for _, op := range b.d.Ops() {
			if op.Topic == "dt/lamp-1/telemetry" {
				require.Len(t, op.Payload, 200)
				require.NotZero(t, op.ID)
				sent++
			}
		}
	}
	require.InDelta(t, 10, sent, 1)
	b.d.Step(b.d.BusyUntil(), Event{Kind: Disconnected, Err: "cut"})
	_, ok := b.d.NextWake()
	require.False(t, ok, "nothing to send, and the connection is not replaced")
}

// TestGivesUp: the demos assert after five attempts, which resets the chip.
func TestGivesUp(t *testing.T) {
	b := after(t, agent.Main, firmware.Behaviour{}, Glue{Attempts: 5})
	b.cloud.refuse = true
	attempts := 0
	b.d.hooks = &Hooks{Point: func(_ *Device, _ time.Duration, p Point, arg int) {
		if p == PointConnect {
			attempts++
		}
	}}
	b.step(Event{Kind: PowerOn})
	b.until(func() bool { return b.d.boots == 3 })
	require.Equal(t, 10, attempts)
}

// TestInstall: a file that is no firmware is copied to the partition its path names, or stays in the slot.
func TestInstall(t *testing.T) {
	p := part(t, partition.TypeData, partition.SubtypePHY)
	for path, installed := range map[string]bool{"/phy_init": true, "/elsewhere": false} {
		cloud := offer(t)
		cloud.file = cloud.file[:3000]
		cloud.sig, cloud.path, cloud.fileType = sign(cloud.file), path, 7
		b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
		require.NoError(t, b.d.flash.Program(p.Offset+3500, []byte{0}))
		b.step(Event{Kind: PowerOn})
		b.run(time.Hour)
		require.Equal(t, "SUCCEEDED", cloud.status)
		require.EqualValues(t, 1, b.d.boots, "no restart")
		got := make([]byte, p.Size)
		require.NoError(t, b.d.flash.Read(p.Offset, got))
		if installed {
			require.Equal(t, cloud.file, got[:3000])
			require.Equal(t, byte(0xff), got[3500], "erased before")
		} else {
			require.Equal(t, byte(0), got[3500])
		}
	}
	// Too large for the partition: refused, and the job is FAILED.
	cloud := offer(t)
	cloud.path, cloud.fileType = "/phy_init", 7
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	require.Equal(t, `FAILED {"reason":"0x000000ee: 0x00000000"}`, cloud.history[len(cloud.history)-1])
}
