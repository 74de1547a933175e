package device

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// TestWhatACutLeaves is the table of the ports, 2018 and current: where the power fails, what flash then says, what starts,
// and what the job ends with.
func TestWhatACutLeaves(t *testing.T) {
	same, down := [2]string{"rejected: 0x23000000", "rejected: 0x00000010"}, [2]string{"rejected: 0x22000000", "rejected: 0x0000000f"}
	good := [2]string{"accepted", "accepted"}
	for _, c := range []struct {
		where   string
		point   Point
		nth     int                // of the point
		delay   time.Duration      // negative: between two commands, and what the device says from the point on is lost
		second  otadata.ImageState // of the new image's record right after the cut; erased: Undefined
		version string             // that starts next
		reason  [2]string          // 2018, current
		final   string             // version that runs at the end
	}{
		{"slot erase", PointSlotErase, 1, 300 * time.Millisecond, otadata.Undefined, "1.0.0", good, "1.1.0"},
		{"a block's program", PointBlockReceived, 20, time.Millisecond, otadata.Undefined, "1.0.0", good, "1.1.0"},
		{"signature check", PointVerify, 1, 20 * time.Millisecond, otadata.Undefined, "1.0.0", good, "1.1.0"},
		{"after ready, before otadata", PointOtadataProgram, 1, time.Microsecond, otadata.Undefined, "1.0.0", same, "1.0.0"},
		{"otadata NEW, before the restart", PointReset, 1, 100 * time.Millisecond, otadata.New, "1.1.0", good, "1.1.0"},
		{"self-test, before active", PointConnected, 2, -1, otadata.PendingVerify, "1.0.0", same, "1.0.0"},
		{"self-test, after active", PointSelfTest, 1, 0, otadata.PendingVerify, "1.0.0", down, "1.0.0"},
		{"between erase and program of VALID", PointConfirm, 1, 45*time.Millisecond + time.Microsecond, otadata.Undefined, "1.0.0", down, "1.0.0"},
		{"after VALID, before SUCCEEDED", PointReport, 1, -1, otadata.Valid, "1.1.0", same, "1.1.0"},
		{"the older slot's erase", PointPassiveErase, 1, 300 * time.Millisecond, otadata.Valid, "1.1.0", good, "1.1.0"},
	} {
		for i, profile := range []*agent.Profile{agent.AFR142, agent.Main} {
			t.Run(fmt.Sprintf("%s/%s", c.where, profile.Name), func(t *testing.T) {
				b := after(t, profile, firmware.Behaviour{Duration: time.Second}, Glue{})
				cloud, hooks, seen := b.cloud, &Hooks{}, 0
				b.d.hooks = hooks
				b.d.boot.AntiRollback = false
				var left otadata.Entry
				var next string
				idle := false
				hooks.Point = func(d *Device, now time.Duration, p Point, arg int) {
					if p == c.point {
						if seen++; seen == c.nth && c.delay < 0 {
							idle, cloud.mute = true, true
						} else if seen == c.nth {
							d.Flash().SetCutAt(max(now+c.delay, 1))
						}
					}
					if b.lost == 1 && p == PointBoot && next == "" {
						left = second(t, d)
						next = "booting"
					}
					if p == PointStarted && next == "booting" {
						next = d.ram.running.Version
					}
				}
				b.step(Event{Kind: PowerOn})
				if c.delay < 0 {
					b.until(func() bool { return idle })
					b.d.PowerOff()
					b.lost, b.queue, cloud.mute = 1, nil, false
					b.step(Event{Kind: PowerOn})
				}
				b.run(time.Hour)
				require.Equal(t, 1, b.lost, "the point was never reached")
				require.Equal(t, c.second, left.State)
				require.Equal(t, c.version, next)
				last := cloud.history[len(cloud.history)-1]
				require.Contains(t, last, c.reason[i])
				require.Equal(t, c.final, b.d.ram.running.Version)
				require.NotEqual(t, agent.PlatformPendingCommit, b.d.ram.pal.State(), "nothing stays on trial")
			})
		}
	}
}

// second is the otadata record that the update writes.
func second(t *testing.T, d *Device) otadata.Entry {
	data := part(t, partition.TypeData, partition.SubtypeOTAData)
	var raw [otadata.EntrySize]byte
	require.NoError(t, d.flash.Read(data.Offset+otadata.SectorSize, raw[:]))
	e, err := otadata.Decode(raw[:])
	require.NoError(t, err)
	return e
}
