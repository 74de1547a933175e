// Package agent is the OTA agent of FreeRTOS for AWS IoT: the machine that asks the Jobs service for work, fetches a
// file in blocks, has it verified and activated, and reports.
//
//	Ready -> RequestingJob -> WaitingForJob -> CreatingFile -> RequestingFileBlock -> WaitingForFileBlock
//	             ^                ^  ^             |                                     |  |  ^
//	             +--- Resume      |  +- self-test -+                                     |  +--+ block, request
//	                  (Suspended) +------------------------------- file closed ----------+
//
// It is pure: Signal queues an event, Process handles events, and everything the agent does goes through a Port whose
// results are inputs. A release of the library is a Profile, a row of named behaviours; each known defect is a field.
//
// Stream messages are CBOR:
//
//	request   a6 "c":"rdy" "f":file "l":block size "o":0 "b":bitmap "n":blocks      bit 1 = wanted, LSB first
//	data      a4 "f":file "i":index "l":size "p":bytes
//
// The agent of 2018, before the library, is a second table (afr.go) with its own document reader.
//
// Sources: aws/amazon-freertos lib/ota/aws_ota_agent.c at v1.4.0 and v1.4.2; aws/ota-for-aws-iot-embedded-sdk source/ota.c, ota_mqtt.c, ota_cbor.c, ota_base64.c at v3.0.0, b36db646,
// v3.4.1 and main; FreeRTOS/coreJSON source/core_json.c.
package agent
