// Package device is one ESP32: boot loader, OTA agent, platform layer and the firmware that runs, around a flash
// array and eFuses that outlive them.
//
//	durable   flash (partition table, otadata, two slots, NVS), eFuse
//	RAM       one value: running image, connection, agent, timers; dropped by PowerOff and by every reset
//
// A Device is a machine: Step takes the time and one event, runs to completion and leaves network operations behind.
// It reads no clock and starts no goroutine. Whatever it decides, it decides from bytes read through the flash model.
package device
