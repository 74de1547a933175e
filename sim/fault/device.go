package fault

import (
	"time"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/scenario"
)

// Region is a partition as a media fault sees it.
type Region struct{ Offset, Size uint32 }

// Media are the defects that a strike puts over the cells of a partition.
func (s *Strike) Media(p Region) []flashmodel.Fault {
	m := &s.f.Media
	offset, length := m.Offset, m.Length
	dead := s.f.Effect == scenario.EffectDeadSector
	if dead {
		if length == 0 {
			length = flashmodel.SectorSize
		}
		if !m.HasOffset {
			offset = uint32(s.rand.Below(uint64(p.Size/flashmodel.SectorSize))) * flashmodel.SectorSize
		}
	}
	offset = min(offset, p.Size-1)
	if length == 0 || length > p.Size-offset {
		length = p.Size - offset
	}
	x := flashmodel.Fault{Addr: p.Offset + offset, Len: length, Bits: m.Bits, OneIn: m.OneIn, Reads: m.Reads, Seed: s.rand.Uint64()}
	switch s.f.Effect {
	case scenario.EffectBitFlip:
		x.Kind = flashmodel.FaultBitRot
	case scenario.EffectStuck:
		x.Kind, x.Value = flashmodel.FaultStuck, -m.Value // 0x00 or 0xff
	case scenario.EffectReadDisturb:
		x.Kind = flashmodel.FaultReadDisturb
	case scenario.EffectWornOut:
		x.Kind = flashmodel.FaultWornOut
	case scenario.EffectProgramFails:
		x.Kind, x.Bits = flashmodel.FaultProgramFails, 0
	case scenario.EffectEraseFails:
		x.Kind, x.Bits = flashmodel.FaultEraseFails, 0
	case scenario.EffectDeadSector:
		x.Kind, x.Bits = flashmodel.FaultProgramFails, 0
		y := x
		y.Kind = flashmodel.FaultEraseFails
		return []flashmodel.Fault{x, y}
	}
	return []flashmodel.Fault{x}
}

// Clock is what a device's clock shows at now, counted from the epoch of the world,
// when it was switched on at boot. unix is the epoch in seconds since 1970.
func Clock(strikes []*Strike, now, boot time.Duration, unix int64) time.Duration {
	wall := now
	for _, s := range strikes {
		if s.f.Type != scenario.FaultClock || s.Begun < 0 || s.Begun > now {
			continue
		}
		switch s.f.Effect {
		case scenario.EffectUnset:
			// 1970 and the time since power-on, until SNTP answers.
			synced := Never
			if s.f.ForTo > 0 {
				synced = max(boot, s.Begun) + s.Until - s.Begun
			}
			if now < synced {
				wall = now - max(boot, 0) - time.Duration(unix)*time.Second
			}
		case scenario.EffectJump:
			if s.On(now) {
				wall += s.f.Clock.Jump
			}
		case scenario.EffectDrift:
			if s.On(now) {
				wall += (now - s.Begun) / scenario.Million * time.Duration(s.f.Clock.Drift)
			}
		}
	}
	return wall
}

// Refuses reports whether the strike leaves no block of so many bytes, or, for 0, no
// buffer for a received message.
func (s *Strike) Refuses(now time.Duration, bytes int) bool {
	if s.f.Type != scenario.FaultMemory || !s.On(now) {
		return false
	}
	if s.f.Effect == scenario.EffectNoBuffer {
		return bytes == 0
	}
	return bytes > int(s.f.Heap)
}
