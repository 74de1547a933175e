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

// PortActive2018 is the record the port's own calls take for the active one:
// blind to states, the higher sequence number, entry 0 in a tie and when none
// has a good CRC.
func PortActive2018(e [2]Entry) int {
	ok := [2]bool{!e[0].Initial(), !e[1].Initial()}
	return max(Select(e, ok), 0)
}
