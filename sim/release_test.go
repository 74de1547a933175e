package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// releases2018 are fleets of 2018. Their images are larger than what the stream service sends at once: it refuses the
// agent's requests, which name no count, for smaller ones.
func releases2018(agent string) []string {
	return []string{"fleet.defaults.agent=" + agent, "fleet.defaults.bootloader=afr-2018", "firmware.1.0.0.size=192KiB", "firmware.1.1.0.size=192KiB"}
}

// Every release of the agent takes a fleet through an update, one that fails its self-test and one that was changed.
func TestReleases(t *testing.T) {
	for _, p := range agent.Profiles {
		sets := append(small("1.0.0", "1.1.0"), "fleet.defaults.agent="+p.Name)
		if p.Task2018 {
			sets = releases2018(p.Name)
		}
		for _, s := range []struct {
			file string
			n    int
			sets []string
		}{
			{"first-update", 8, nil},
			{"bad-self-test", 40, nil},
			{"tampered-image", 6, []string{"attacks.one byte changed.offset=2000", "assertions.slots were filled before the refusal.sometimes=flash.bytes_programmed > 0"}},
		} {
			t.Run(p.Name+"/"+s.file, func(t *testing.T) {
				sc := load(t, s.file, scenario.Options{Devices: s.n, Sets: append(s.sets, sets...)})
				first := run(t, sc, Options{Workers: 1})
				require.Equal(t, report.VerdictPass, first.Verdict, "%+v %v", first.Assertions, first.Notes)
				require.Equal(t, first.TraceHash, run(t, sc, Options{Workers: 2}).TraceHash)
			})
		}
	}
}

// A power cut at any point of an update leaves a device of 2018 with an image that runs.
func TestPowerCuts2018(t *testing.T) {
	for _, phase := range []string{"download", "verify", "otadata", "self-test", "first-boot", "confirm"} {
		t.Run(phase, func(t *testing.T) {
			sc := load(t, "power-cut", scenario.Options{Devices: 6, Sets: append(releases2018("afr-v1.4.2"), "faults.mains unplugged.during=["+phase+"]",
				"faults.mains unplugged.select.fraction=100%", "assertions.the hard case did happen.sometimes=faults[\"mains unplugged\"].injected > 0")})
			res := run(t, sc, Options{Workers: 2})
			require.Equal(t, report.VerdictPass, res.Verdict, "%+v", res.Assertions)
			require.Zero(t, res.Fleet.Bricked)
		})
	}
}
