package fuzz_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/otaops"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fuzz"
)

// TestReference sweeps ESP-IDF's own logic.
func TestReference(t *testing.T) {
	for _, kind := range []string{"idf-5.5", "afr-2022"} {
		t.Run(kind, func(t *testing.T) {
			target, err := fuzz.ESP32(kind)
			require.NoError(t, err)
			fuzz.Run(t, target)
		})
	}
	target, err := fuzz.ESP32("idf-6.0")
	require.NoError(t, err)
	require.Nil(t, target.Check(fuzz.Plan{}))
	_, err = fuzz.ESP32("afr-2018")
	require.ErrorIs(t, err, fuzz.ErrKind)
}

// resuming is an agent that goes on where it believes that power failed: at the first block that is not there. It looks at the first
// bytes of a block only.
type resuming struct{ fuzz.Reference }

func (r *resuming) Install(flash flashmodel.NOR, running int, blocks fuzz.Blocks) error {
	o := r.Ops(flash, running)
	slot, code := o.NextUpdate(nil)
	if code != otaops.OK {
		return code
	}
	for i := 0; i*fuzz.BlockSize < blocks.Size(); i++ {
		at := slot.Offset + uint32(i)*fuzz.BlockSize
		b, err := blocks.Block(i)
		if err != nil {
			return err
		}
		var head [16]byte
		if err := flash.Read(at, head[:]); err != nil {
			return err
		}
		if string(head[:]) == string(b[:16]) {
			continue // already there, or so it seems
		}
		if err := flash.Erase(at, flashmodel.SectorSize); err != nil {
			return err
		}
		if err := flash.Program(at, b); err != nil {
			return err
		}
	}
	if code := o.SetBoot(slot); code != otaops.OK {
		return code
	}
	return nil
}

// trusting is a boot loader that starts what the newer record names, whatever is in the slot.
type trusting struct{ fuzz.Reference }

func (r *trusting) Boot(flash flashmodel.NOR) (int, error) {
	best, seq := 0, uint32(0)
	for i := range uint32(2) {
		var raw [otadata.EntrySize]byte
		if err := flash.Read(0xf000+i*flashmodel.SectorSize, raw[:]); err != nil {
			return 0, err
		}
		if e, err := otadata.Decode(raw[:]); err == nil && e.Usable() && e.Seq > seq {
			best, seq = int(e.Slot(2)), e.Seq
		}
	}
	return best, nil
}

// forgetting is an application that never tells that its image is good.
type forgetting struct{ fuzz.Reference }

func (*forgetting) Confirm(flashmodel.NOR, int) error { return nil }

// TestOwnLogic: wrong logic of a user over ESP-IDF's is caught.
func TestOwnLogic(t *testing.T) {
	for _, c := range []struct {
		name string
		wrap func(fuzz.Reference) fuzz.Logic
		want string
	}{
		{"resumes by looking at the head of a block", func(r fuzz.Reference) fuzz.Logic { return &resuming{r} }, check.Liveness},
		{"starts what the record names", func(r fuzz.Reference) fuzz.Logic { return &trusting{r} }, check.SelfTestFirst},
		{"never confirms", func(r fuzz.Reference) fuzz.Logic { return &forgetting{r} }, check.Liveness},
	} {
		target, err := fuzz.ESP32("idf-5.5")
		require.NoError(t, err)
		reference := target.New
		target.New = func() fuzz.Logic { return c.wrap(*reference().(*fuzz.Reference)) }
		var got *check.Breach
		target.Sweep(func(_ fuzz.Plan, b *check.Breach) bool {
			got = b
			return false
		})
		require.NotNil(t, got, c.name)
		require.Equal(t, c.want, got.Invariant, "%s: %s", c.name, got.Detail)
	}
}

// An agent of your own over the boot loader of ESP-IDF: this one never confirms its image, and is rolled back for ever.
func ExampleESP32() {
	target, err := fuzz.ESP32("idf-5.5")
	if err != nil {
		fmt.Println(err)
		return
	}
	reference := target.New
	target.New = func() fuzz.Logic { return &forgetting{*reference().(*fuzz.Reference)} }
	fmt.Println(target.Check(fuzz.Plan{}))
	// Output: liveness: the new image was confirmed, but slot 0 starts
}
