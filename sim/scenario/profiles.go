package scenario

import (
	"slices"
	"time"
)

// A Profile is a link that a scenario can name without defining it: typical values in
// the field, not peak rates of a standard.
type Profile struct {
	Name   string
	Link   Link
	Source string
}

const ms = time.Millisecond

// Profiles are the built-in links.
var Profiles = []Profile{
	{DefaultNetwork, defaultLink, "a household's Wi-Fi behind a cable or DSL line"},
	{"ethernet", Link{Downlink: 90_000_000, Uplink: 90_000_000, Latency: 5 * ms, Jitter: ms}, "100BASE-TX of the ESP32's MAC, a wired line behind it"},
	{"wifi-crowded", Link{Downlink: 2_000_000, Uplink: 800_000, Latency: 60 * ms, Jitter: 45 * ms, Loss: 20_000}, "2.4 GHz in a block of flats: shared air time, retransmissions"},
	{"lte-cat1", Link{Downlink: 5_000_000, Uplink: 2_000_000, Latency: 45 * ms, Jitter: 20 * ms, Loss: 1_000}, "3GPP TS 36.306 category 1 (10/5 Mbps peak), half of it at a cell's middle"},
	{"lte-m", Link{Downlink: 300_000, Uplink: 375_000, Latency: 75 * ms, Jitter: 30 * ms, Loss: 2_000}, "3GPP TS 36.306 category M1, half duplex (300/375 kbps peak)"},
	{"nb-iot", Link{Downlink: 25_000, Uplink: 60_000, Latency: 800 * ms, Jitter: 600 * ms, Loss: 5_000}, "3GPP TS 36.306 category NB1 (27.2/62.5 kbps peak); latency of TR 45.820 in normal coverage"},
	{"gprs", Link{Downlink: 40_000, Uplink: 20_000, Latency: 300 * ms, Jitter: 150 * ms, Loss: 5_000}, "3GPP TS 45.002 multislot class 10, coding scheme 2"},
	{"satellite-leo", Link{Downlink: 10_000_000, Uplink: 2_000_000, Latency: 30 * ms, Jitter: 15 * ms, Loss: 5_000}, "low earth orbit terminals, a shared one"},
	{"satellite-geo", Link{Downlink: 1_000_000, Uplink: 128_000, Latency: 300 * ms, Jitter: 20 * ms, Loss: 2_000}, "35,786 km up and down: 240 ms one way, and a hub"},
}

func profile(name string) *Profile {
	i := slices.IndexFunc(Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &Profiles[i]
}

func profileNames() []string {
	out := make([]string, 0, len(Profiles))
	for i := range Profiles {
		out = append(out, Profiles[i].Name)
	}
	return out
}
