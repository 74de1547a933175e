// Package explore looks for the fault that breaks an update: it runs a scenario with
// few devices and the real cloud again and again in virtual time, takes power away at
// every flash command in every way a command can tear, loses, doubles and delays
// messages, and judges each case by the invariants of sim/check.
//
//	reference run ── at every flash command ──┬── survivor: fork of flash, torn command, boot, verdict     (Sweep)
//	                                          └── the same cut in a whole run, to the end of the job       (recovery)
//
// A case is a scenario, its seed and overrides, and a list of acts. It has a token
// that runs the same bytes again.
package explore
