// Package fuzz tests update logic of your own: a boot loader and whatever downloads, installs and confirms an image,
// behind the small interface Logic. Power fails in every flash command, in every way a command can tear, once or
// several times; blocks get lost. Checkers that know nothing of the logic judge every boot.
//
//	func TestMine(t *testing.T) { fuzz.Run(t, target) }           // every single cut, and pairs
//	func FuzzMine(f *testing.F) { fuzz.Add(f, target) }           // go test -fuzz FuzzMine
//
// A device in its own life sees this again and again, until the new image is confirmed:
//
//	power on ── Boot ──┬── runs the old image ── Install(blocks) ── reset
//	                   └── runs the new image ── self-test ── Confirm ── reset
//
// Confirm is called again when power failed in it: it must know that it is done.
//
// Power loss is a panic with flashmodel.PowerLost that passes through Logic: it must not recover it, and its RAM is
// gone; Target.New makes the next one. What must hold:
//
//	verified-bytes   Boot answers with a slot that holds one of the two images, whole
//	bootable         and always with one
//	running-slot     Install never touches the slot that runs
//	own-slot         commands stay in the slots and in Target.Data
//	blank-cells      nothing is programmed that cannot be read back (NOR flash only clears bits)
//	self-test-first  with Target.Rollback: an image that was not confirmed is not booted a second time
//	liveness         once faults have stopped, the new image is installed and confirmed
package fuzz
