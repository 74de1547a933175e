package otadata

// The rules of the bootloader and of the OTA port in Amazon FreeRTOS v1.4.x of
// 2018. The word at offset 24 is called ota_flags there, with the same numbers.

// Usable2018 is the bootloader's test: sequence number and CRC, and with
// rollback on also none of INVALID, ABORTED and PENDING_VERIFY.
func (e Entry) Usable2018(rollback bool) bool {
	if e.Seq == EmptySeq || !e.CRCGood() {
		return false
	}
	return !rollback || (e.State != Invalid && e.State != Aborted && e.State != PendingVerify)
}

// Active2018 is the record the bootloader follows: the higher sequence number,
// entry 1 in a tie; -1 if none is usable.
func Active2018(e [2]Entry, rollback bool) int {
	a, b := e[0].Usable2018(rollback), e[1].Usable2018(rollback)
	switch {
	case a && b:
		if e[0].Seq > e[1].Seq {
			return 0
		}
		return 1
	case a:
		return 0
	case b:
		return 1
	}
	return -1
}

// UsableToPort2018 is the test of the 2018 port's own calls: sequence number
// and CRC, blind to states. The port of 2022 uses Usable.
func (e Entry) UsableToPort2018() bool { return !e.Initial() }

// PortRecord is the index of the record that the calls of the FreeRTOS ports
// (aws_esp_ota_get_boot_flags, aws_esp_ota_set_boot_flags) read and rewrite as
// the active or the passive one: by sequence number, an unusable record counts
// as 0, a tie makes record 0 the active one. When both count as 0 it is record
// 0 for either question.
//
// Source: aws/amazon-freertos vendors/espressif/boards/ports/ota_pal_for_aws/
// aws_esp_ota_ops.c.
func PortRecord(e [2]Entry, usable [2]bool, active bool) int {
	var seq [2]uint32
	for i := range seq {
		if usable[i] {
			seq[i] = e[i].Seq
		}
	}
	first := seq[0] >= seq[1]
	if seq == [2]uint32{} || first == active {
		return 0
	}
	return 1
}
