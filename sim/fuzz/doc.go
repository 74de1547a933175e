// Package fuzz tests update logic of your own: a boot loader, and whatever downloads, installs and confirms an image,
// behind the small interface Logic. Power fails in every flash command, in every way a command can tear, once or
// several times; blocks get lost. Checkers that know nothing of the logic judge every boot.
//
//	func TestMine(t *testing.T) { fuzz.Run(t, target) }           // every single cut, pairs of cuts, lost blocks
//	func FuzzMine(f *testing.F) { fuzz.Add(f, target) }           // go test -fuzz FuzzMine
//
// # What you bring
//
// Three functions over a flash chip (flashmodel.NOR: Read, Program, Erase), and a Target that says where the slots and the
// records are. If only one half is yours, take ESP32 for the rest: it has the slots, the images and, as Reference, the boot loader and
// the esp_ota_ops of ESP-IDF. Embed Reference and replace one method. To test code in C, call it from these functions.
//
// A device in its own life sees this again and again, until the new image is confirmed:
//
//	power on ── Boot ──┬── runs the old image ── Install(blocks) ── reset
//	                   └── runs the new image ── self-test ── Confirm ── reset
//
// Confirm is called again when power failed in it: it must know that it is done. Install is called again after a reset when it
// gave up or power failed in it, and may go on where it was.
//
// Power loss is a panic with flashmodel.PowerLost that passes through Logic: it must not recover it, and its RAM is
// gone; Target.New makes the next one. Nothing may depend on anything but flash: no time, no chance, no global variable.
//
// # What must hold
//
//	verified-bytes   Boot answers with a slot that holds one of the two images, whole
//	bootable         and always with one
//	running-slot     Install never touches the slot that runs
//	own-slot         commands stay in the slots and in Target.Data
//	blank-cells      nothing is programmed that cannot be read back (NOR flash only clears bits)
//	self-test-first  with Target.Rollback: an image that was not confirmed is not booted a second time
//	liveness         once faults have stopped, the new image is installed and confirmed
//
// A test that fails prints the case as Go: target.Check(fuzz.Plan{...}) is the same life again. The cloud is not part of it: how
// an agent of this repository and its cloud get on is what otasim explore searches.
package fuzz
