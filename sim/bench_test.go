package sim

import (
	"fmt"
	"testing"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// BenchmarkFirstUpdate runs scenarios/first-update.yaml (1 MiB images) at several
// sizes and prints what users ask: seconds, events a second, bytes a device (peak
// heap and stacks, less what there was before the fleet).
func BenchmarkFirstUpdate(b *testing.B) {
	for _, workers := range []int{1, 2} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprintf("devices=%d/workers=%d", n, workers), func(b *testing.B) {
				sc := load(b, "first-update", scenario.Options{Devices: n})
				var res *report.Result
				for b.Loop() {
					res = run(b, sc, Options{Workers: workers})
				}
				if res.Verdict != report.VerdictPass {
					b.Fatalf("%s: %+v", res.Verdict, res.Assertions)
				}
				b.ReportMetric(res.WallSeconds, "wall-s")
				b.ReportMetric(float64(res.Events)/res.WallSeconds, "events/s")
				b.ReportMetric(float64(res.Memory.BytesPerDevice), "B/device")
				b.ReportMetric(float64(res.Flash.BytesProgrammed)/4096/res.WallSeconds, "blocks/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkRealDigests is the same with every digest and signature computed for
// every device: what remembering them by content saves.
func BenchmarkRealDigests(b *testing.B) {
	sc := load(b, "first-update", scenario.Options{Devices: 200})
	for b.Loop() {
		run(b, sc, Options{Workers: 2, noMemo: true})
	}
}
