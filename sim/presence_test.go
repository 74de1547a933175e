package sim

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Windows of one device: of their length, apart by their period, in order, whatever
// moment is asked about.
func TestWindows(t *testing.T) {
	for _, row := range []scenario.Presence{
		{Weight: scenario.Million, Every: 12 * time.Hour, For: 20 * time.Minute},
		{Weight: scenario.Million, Every: 12 * time.Hour, For: 20 * time.Minute, Jitter: time.Hour},
		{Weight: scenario.Million, Every: 24 * time.Hour, Daily: true, From: 22 * time.Hour, For: 6 * time.Hour, Timezones: []int{-5, 0, 9}},
	} {
		f := &fleet{seed: kernel.Seed(4), things: []thing{{name: "a"}, {name: "b"}}}
		for i := range f.things {
			f.things[i].config = &scenario.Device{Presence: []scenario.Presence{row}}
			p, ok := f.presence(i)
			require.True(t, ok)
			var last time.Duration
			for now := time.Duration(0); now < 5*24*time.Hour; {
				from, to := p.window(now)
				require.GreaterOrEqual(t, from, now)
				require.LessOrEqual(t, to-from, row.For)
				require.GreaterOrEqual(t, from, last)
				require.LessOrEqual(t, from-now, row.Every+2*row.Jitter)
				if from > now {
					again, end := p.window(from + row.For/2)
					require.Equal(t, from+row.For/2, again, "inside the window")
					require.Equal(t, to, end)
				}
				if row.Daily && from > now {
					hour := from % (24 * time.Hour) / time.Hour
					require.Contains(t, []time.Duration{22, 3, 13}, hour)
				}
				last, now = to, to
			}
		}
	}
}

const battery = `apiVersion: otasim/v1
kind: Scenario
metadata: {name: battery}
duration: 26h
firmware:
  - {version: 1.0.0, size: 64KiB}
  - {version: 1.1.0, size: 64KiB}
fleet:
  defaults: {firmware: 1.0.0, start: 0s..1m}
  groups:
    - {name: mains, count: 10}
    - name: battery
      count: 20
      presence: {wake: {every: 8h, for: 5m, jitter: 30m}}
    - name: mixed
      count: 20
      presence:
        - {weight: 50%, hours: {from: 18h, for: 5h, timezones: [0, 1]}}
        - {weight: 30%, off: true}
        - {weight: 20%}
updates:
  - {otaUpdateId: fw, at: 1h, firmware: 1.1.0, targets: [mains, battery, mixed], awsJobExecutionsRolloutConfig: {maximumPerMinute: 1000}}
assertions:
  - {name: sleepers sleep, always: 'groups["battery"].powered < 20'}
  - {name: who is there is updated, atEnd: 'groups["mains"].on_version["1.1.0"] == 10 and groups["battery"].on_version["1.1.0"] == 20'}
  - {name: who never is there is not, atEnd: 'groups["mixed"].powered < 20 and groups["mixed"].on_version["1.1.0"] < 20 and groups["mixed"].on_version["1.1.0"] > 10'}
`

func TestPresence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "battery.yaml")
	require.NoError(t, os.WriteFile(path, []byte(battery), 0o600))
	sc, problems, err := scenario.Load(path, scenario.Options{})
	require.NoError(t, err)
	require.NotNil(t, sc, "%v", problems)
	r := run(t, sc, Options{Workers: 1})
	require.Equal(t, report.VerdictPass, r.Verdict, "%+v", r.Assertions)
	require.Greater(t, *r.Updates.TimeTo50, 3600.0, "most must be waited for")
	require.Less(t, *r.Updates.TimeTo50, 10*3600.0)
	for _, o := range []Options{{Workers: 2, parallel: true}, {Workers: 1, direct: true}} {
		require.Equal(t, r.TraceHash, run(t, sc, o).TraceHash)
	}
}
