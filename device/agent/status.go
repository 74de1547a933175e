package agent

import "strconv"

func (a *Agent) topicOf(rest string) string { return "$aws/things/" + a.thing + rest }

func (a *Agent) notifyTopic() string { return a.topicOf("/jobs/notify-next") }

func (a *Agent) nextTopic() string {
	if a.cfg.Profile.NextTopicCut {
		return "$aws/things/"
	}
	return a.topicOf("/jobs/$next/get")
}

func (a *Agent) streamTopic(rest string) string {
	if a.file.Stream.Null {
		return a.topicOf("/streams/") // the text builder ends at a null pointer
	}
	return a.topicOf("/streams/" + a.file.Stream.S + rest)
}

func (a *Agent) clientToken() []byte {
	n := strconv.FormatUint(uint64(a.requests), 10)
	if a.requests == 0 && a.cfg.Profile.TokenZeroEmpty {
		n = ""
	} else if a.cfg.Profile.TokenLosesDigit {
		n = n[:len(n)-1]
	}
	thing := a.thing
	if limit := a.cfg.Profile.TokenThingMax; limit > 0 && len(thing) > limit {
		thing = thing[:limit]
	}
	return []byte(`{"clientToken":"` + n + ":" + thing + `"}`)
}

func hex8(v uint32) string {
	const digits = "0123456789abcdef"
	var b [10]byte
	b[0], b[1] = '0', 'x'
	for i := 9; i > 1; i-- {
		b[i] = digits[v&15]
		v >>= 4
	}
	return string(b[:])
}

// hex prints a version number.
func (a *Agent) hex(v uint32) string {
	if a.cfg.Profile.ShortTexts {
		return "0x" + strconv.FormatUint(uint64(v), 16)
	}
	return hex8(v)
}

// versionText prints major(8) minor(8) build(16).
func (a *Agent) versionText(v uint32) string {
	return a.decimal(v>>24) + "." + a.decimal(v>>16&0xff) + "." + a.decimal(v&0xffff)
}

func (a *Agent) decimal(n uint32) string {
	if n == 0 && a.cfg.Profile.VersionZeroEmpty {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

// updateStatus publishes one of the status messages. Progress goes out at QoS 0 and only at certain counts.
func (a *Agent) updateStatus(p Port, status Status, reason, sub uint32) bool {
	profile := a.cfg.Profile
	qos, text := byte(1), ""
	switch status {
	case StatusInProgress:
		text = `{"status":"IN_PROGRESS","statusDetails":{`
		switch reason {
		case ReasonReceiving:
			total := a.blocks()
			received := total - a.file.Remaining
			if received%a.cfg.StatusEvery != 0 && (received != 1 || profile.NoFirstProgress) {
				return true
			}
			if profile.ProgressOwnTotal {
				total = received
			}
			qos = 0
			text += `"receive":"` + a.decimal(received) + "/" + a.decimal(total) + `"}}`
		case ReasonSigCheckPassed:
			text += `"self_test":"ready","updatedBy":"` + a.hex(a.version) + `"}}`
		default:
			text += `"self_test":"active","updatedBy":"` + a.hex(a.version) + `"}}`
		}
	case StatusSucceeded:
		text = `{"status":"SUCCEEDED","statusDetails":{"reason":"accepted `
		if !profile.ShortTexts {
			text += " "
		}
		text += "v" + a.versionText(sub)
		if !profile.NoUpdatedBy {
			text += `","updatedBy":"  v` + a.versionText(a.file.UpdatedBy)
		}
		text += `"}}`
	default:
		text = `{"status":"FAILED","statusDetails":{"reason":"`
		if status == StatusRejected {
			text = `{"status":"REJECTED","statusDetails":{"reason":"`
		}
		switch {
		case status == StatusFailedWithValue:
			text += hex8(reason) + ": " + hex8(sub)
		case reason == ReasonRejected:
			text += "rejected: " + hex8(sub)
		case reason == ReasonAccepted:
			text += "accepted: " + hex8(sub)
		default:
			text += "aborted: " + hex8(sub)
		}
		text += `"}}`
	}
	job := a.job
	if profile.Task2018 && !a.afr.hasJob {
		job = "(null)" // as the C library prints a null pointer
	}
	if status != StatusInProgress {
		a.ended(p)
	}
	topic := a.topicOf("/jobs/" + job + "/update")
	return a.fits(topic) && p.Publish(qos, topic, []byte(text))
}
