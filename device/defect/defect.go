// Package defect lists the wrong variants of agent, platform layer, esp_ota_ops and boot loader that a search must
// find. Each is one switch in one place. No scenario reaches them: they are planted by name, to test the checkers.
package defect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ID is one defect.
type ID uint8

// The defects.
const (
	SkipSignature ID = iota
	VerifyBeforeLast
	WrongTarget
	SkipSlotErase
	RecordBeforeVerify
	TrialUnrecorded
	SetBootBurns
	StaleSequence
	RecordWithoutCRC
	ConfirmBeforeTest
	ConfirmNotWritten
	ReportBeforeConfirm
	FailureIsSuccess
	DuplicateCounts
	NeverAsksAgain
	LastBlockShifted
	ForgetsOnReconnect
	NeverRestarts
	RecordCRCIgnored
	LowestSequence
	TrialNotMarked
	TrialNotEnded
	LoaderBurnsEarly
	VersionIgnored
	ImageUnchecked
	ErasesFallbackEarly
	ErasesChosen
	NoFallback
	RejectIgnored
	WritesTooHigh
	ConfirmedRefused
	count
)

// Row describes a defect.
type Row struct {
	ID    ID
	Name  string
	Where string // file and function
	What  string
}

// Table is every defect, in the order of the IDs.
var Table = [count]Row{
	{SkipSignature, "skip-signature", "device/pal Close", "any signature is good"},
	{VerifyBeforeLast, "verify-before-last-block", "device/agent ingest", "the file is closed and verified when one block is missing"},
	{WrongTarget, "erase-wrong-slot", "device/otaops Begin", "the slot that runs is erased instead of the other one"},
	{SkipSlotErase, "skip-slot-erase", "device/otaops Begin", "the slot is not erased before it is programmed"},
	{RecordBeforeVerify, "record-before-verify", "device/pal Close", "the boot record is written before the signature is checked"},
	{TrialUnrecorded, "trial-unrecorded", "device/otaops SetBoot", "the record is written VALID instead of NEW"},
	{SetBootBurns, "burn-efuse-early", "device/otaops SetBoot", "the secure version is burnt when the image is chosen, not when it is confirmed"},
	{StaleSequence, "stale-sequence", "device/otaops SetBoot", "the new record has the sequence number of the old one"},
	{RecordWithoutCRC, "record-without-crc", "device/otaops rewrite", "the record is written with a CRC of zero"},
	{ConfirmBeforeTest, "mark-valid-before-self-test", "device startApp", "the image confirms itself as soon as it runs"},
	{ConfirmNotWritten, "confirm-not-written", "device/pal SetState", "accepting the image does not reach otadata"},
	{ReportBeforeConfirm, "report-before-confirm", "device/agent setImageState", "SUCCEEDED is published and the image not marked VALID"},
	{FailureIsSuccess, "failure-is-success", "device/agent setImageState", "a rejected image is reported SUCCEEDED"},
	{DuplicateCounts, "duplicate-counts", "device/agent ingest", "a block that comes twice counts twice"},
	{NeverAsksAgain, "never-asks-again", "device/agent Expired", "the request timer does nothing"},
	{LastBlockShifted, "last-block-shifted", "device/agent ingest", "the last block is written 16 bytes too early"},
	{ForgetsOnReconnect, "forgets-on-reconnect", "device/agent ResumeAgent", "after a reconnect the agent neither subscribes nor asks"},
	{NeverRestarts, "never-restarts", "device ActivateImage", "the new image is chosen but the device does not restart"},
	{RecordCRCIgnored, "crc-ignored", "device/bootloader readRecords", "a record with a wrong CRC is followed"},
	{LowestSequence, "lowest-sequence", "device/bootloader selectStock", "of two good records the older one is followed"},
	{TrialNotMarked, "trial-not-marked", "device/bootloader follow", "NEW is not rewritten to PENDING_VERIFY"},
	{TrialNotEnded, "trial-not-ended", "device/bootloader abortPending", "PENDING_VERIFY is not rewritten to ABORTED"},
	{LoaderBurnsEarly, "loader-burns-early", "device/bootloader follow", "the secure version is burnt when the trial begins"},
	{VersionIgnored, "secure-version-ignored", "device/bootloader newEnough", "the secure version of an image is not compared with the eFuses"},
	{ImageUnchecked, "image-unchecked", "device/bootloader try", "an image is started without checksum, hash and signature"},
	{ErasesFallbackEarly, "erases-fallback-early", "device/bootloader follow", "the other slot is erased when the trial begins"},
	{ErasesChosen, "erases-chosen", "device/bootloader follow", "the slot that is going to run is erased instead of the other one"},
	{NoFallback, "no-fallback", "device/bootloader firstBootable", "when the chosen slot does not verify no other one is tried"},
	{RejectIgnored, "reject-ignored", "device verdict", "an image that fails its self-test confirms itself"},
	{WritesTooHigh, "writes-too-high", "device/otaops WriteWithOffset", "blocks are written 64 KiB too high"},
	{ConfirmedRefused, "confirmed-refused", "device/agent selfTestJob", "a job whose image was confirmed before its final status got through is rejected"},
}

// Set is the defects that are planted. The zero Set is the correct system.
type Set uint64

// Has reports whether a defect is planted.
func (s Set) Has(d ID) bool { return s>>d&1 == 1 }

// Of is a set of one.
func Of(d ID) Set { return 1 << d }

// ErrUnknown is wrapped by errors about a name.
var ErrUnknown = errors.New("no such defect")

// Parse finds a defect by its name.
func Parse(name string) (Set, error) {
	i := slices.IndexFunc(Table[:], func(r Row) bool { return r.Name == strings.TrimSpace(name) })
	if i < 0 {
		return 0, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return Of(Table[i].ID), nil
}
