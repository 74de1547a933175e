package device

import "time"

// Timing is one row of the table of a board's times: a quantity of a chip, and where
// the number comes from. Models takes its values from here, and the table in
// docs/fidelity.md is made of these rows.
type Timing struct {
	Quantity Quantity
	Target   string        // as in idf.py set-target, "" for all
	Time     time.Duration // or
	Rate     uint32        // a second: bytes, of WiFiRate bits
	How      How
	Note     string // how it was derived, or under which conditions it was measured
	Source   string // repository or page, and date
}

// Quantity is what a row is about.
type Quantity string

// How says how a value was obtained.
type How string

// Measured is a figure of the source, for this chip; Derived is computed from such
// figures; Assumed has no source but the reason that is given.
const (
	Measured How = "measured there"
	Derived  How = "derived"
	Assumed  How = "assumed"
)

// The quantities. Flash commands take their times from the flash part, see
// flashmodel.Timing; their rows say where those come from.
const (
	BootTime     Quantity = "reset to partition table"
	AppStartTime Quantity = "start of the application to start of Wi-Fi"
	WiFiTime     Quantity = "Wi-Fi association and address"
	WiFiRate     Quantity = "Wi-Fi throughput over TCP, at most"
	TLSTime      Quantity = "CPU of a TLS handshake with client certificate, ECDHE-ECDSA P-256"
	HTTPSTime    Quantity = "CPU of a TLS handshake without client certificate"
	VerifyTime   Quantity = "ECDSA P-256 verification"
	HashRate     Quantity = "SHA-256 of flash"
	EraseSector  Quantity = "flash: erase 4 KiB"
	EraseBlock   Quantity = "flash: erase 64 KiB"
	ProgramPage  Quantity = "flash: program 256 bytes"
	HTTPTime     Quantity = "CPU of an HTTP request or response"
	JSONTime     Quantity = "CPU of a JSON message"
	CBORTime     Quantity = "CPU of a CBOR message"
)

const (
	bench19027 = "espressif/esp-idf pull request 19027 (2026-08-30)"
	bench19026 = "espressif/esp-idf pull request 19026 (2026-08-29)"
	techpedia  = "docs.espressif.com, ESP-Techpedia, ESP Chip Startup Time Optimization (ESP-IDF v5.2.1)"
	scaled     = "the ESP32's by the ratio of the verifications"
	byClock    = "the ESP32's, by 240 to 160 MHz"
	anyBoard   = "data sheets W25Q32JV and GD25Q32C, the slower of both, typical"
	slowFlash  = "espressif/esp-idf components/idf_test/include/esp32/idf_performance_target.h (release/v4.3) has 45.3 kB/s as 70 % of the slowest erase and 754 kB/s as 70 % of the average program"
	radio      = "radio and DHCP decide, not the CPU: the ESP32's"
	wifiLog    = "GoogleCloudPlatform/google-cloud-iot-arduino issue 221 (2021-04-12)"
	wifiGuide  = "docs.espressif.com, ESP-IDF Programming Guide v6.0.2 for ESP32-C3, Wi-Fi Driver, Overview"
	noSource   = "none found"
)

// Timings is the table. Chips run at their highest clock: 240 MHz, the C3 160.
func Timings() []Timing {
	const ms = time.Millisecond
	return []Timing{
		{Quantity: BootTime, Target: "esp32", Time: 160 * ms, How: Derived, Note: "326 ms from reset to the first line of an application, less 60 for its image and 110 for the start code",
			Source: "blog.oit.cloud, ESP32 startup times (2020-02-13)"},
		{Quantity: BootTime, Target: "esp32s3", Time: 160 * ms, How: Derived, Note: "about 300 ms from power-on to app_main, less image and start code", Source: techpedia},
		{Quantity: BootTime, Target: "esp32c3", Time: 160 * ms, How: Derived, Note: "the S3's; its log has the partition table at the same time, 57 to 64 ms after the loader's start", Source: "espressif/esp-hosted issue 175 (2023-03-03)"},
		{Quantity: AppStartTime, Target: "esp32", Time: 250 * ms, How: Derived, Note: "the driver begins 223 ms after the clock of the application", Source: "espressif/esp-idf issue 3340 (2019-04-21)"},
		{Quantity: AppStartTime, Target: "esp32s3", Time: 250 * ms, How: Derived, Note: "the ESP32's", Source: "espressif/esp-idf issue 3340 (2019-04-21)"},
		{Quantity: AppStartTime, Target: "esp32c3", Time: 375 * ms, How: Derived, Note: byClock, Source: "espressif/esp-idf issue 3340 (2019-04-21)"},
		{Quantity: WiFiTime, Target: "esp32", Time: 2460 * ms, How: Measured, Note: "2.458 s from STA_START to GOT_IP in a household, DHCP", Source: wifiLog},
		{Quantity: WiFiTime, Target: "esp32s3", Time: 2460 * ms, How: Derived, Note: radio, Source: wifiLog},
		{Quantity: WiFiTime, Target: "esp32c3", Time: 2460 * ms, How: Derived, Note: radio, Source: wifiLog},
		{Quantity: WiFiRate, Target: "esp32", Rate: 20e6, How: Derived, Note: "the C3's; the rate of a scenario's network counts, and is lower", Source: wifiGuide},
		{Quantity: WiFiRate, Target: "esp32s3", Rate: 20e6, How: Derived, Note: "the C3's", Source: wifiGuide},
		{Quantity: WiFiRate, Target: "esp32c3", Rate: 20e6, How: Measured, Note: "over the air, the vendor's figure", Source: wifiGuide},
		{Quantity: TLSTime, Target: "esp32", Time: 1900 * ms, How: Derived, Note: "1.96 s on the wire, less round trips of some 60 ms", Source: "GoogleCloudPlatform/google-cloud-iot-arduino issue 217, log of a connection"},
		{Quantity: TLSTime, Target: "esp32s3", Time: 1530 * ms, How: Derived, Note: scaled, Source: bench19027},
		{Quantity: TLSTime, Target: "esp32c3", Time: 2300 * ms, How: Derived, Note: scaled, Source: bench19027},
		{Quantity: HTTPSTime, Target: "esp32", Time: 1700 * ms, How: Derived, Note: "less one signature: ten P-256 signatures in 1,944 ms", Source: "espressif/esp-idf issue 1177 (2017-10-27)"},
		{Quantity: HTTPSTime, Target: "esp32s3", Time: 1370 * ms, How: Derived, Note: scaled, Source: bench19027},
		{Quantity: HTTPSTime, Target: "esp32c3", Time: 2060 * ms, How: Derived, Note: scaled, Source: bench19027},
		{Quantity: VerifyTime, Target: "esp32", Time: 374 * ms, How: Derived, Note: "the S3's by the ratio of their 256-bit multiplications, 19.49 to 15.76 us", Source: bench19026},
		{Quantity: VerifyTime, Target: "esp32s3", Time: 302 * ms, How: Measured, Note: "302.09 ms, ESP-IDF v6.0.2, accelerator on as is the default", Source: bench19027},
		{Quantity: VerifyTime, Target: "esp32c3", Time: 453 * ms, How: Derived, Note: "the S3's, by 240 to 160 MHz", Source: bench19027},
		{Quantity: HashRate, Target: "esp32", Rate: 2_600_000, How: Measured, Note: "596,240 bytes in 229 ms by the boot loader, flash at 40 MHz DIO", Source: "espressif/esp-idf issue 5723 (2020, ESP-IDF v4.2-dev)"},
		{Quantity: HashRate, Target: "esp32s3", Rate: 4_780_000, How: Measured, Note: "224,900 bytes in 47 ms by the boot loader, 80 MHz DIO", Source: "rbouteiller/airplay-esp32 issue 18 (2026-02, ESP-IDF v5.5.0)"},
		{Quantity: HashRate, Target: "esp32c3", Rate: 6_980_000, How: Measured, Note: "691,044 bytes in 99 ms by the boot loader, 80 MHz QIO", Source: "zephyrproject-rtos/zephyr pull request 103918 (2026-01, ESP-IDF v5.5.1)"},
		{Quantity: EraseSector, Time: 45 * ms, How: Derived, Note: anyBoard, Source: slowFlash},
		{Quantity: EraseBlock, Time: 150 * ms, How: Derived, Note: "data sheet W25Q32JV, typical; the GD25Q32C has a row of its own", Source: "flashmodel/chip.go names the parts"},
		{Quantity: ProgramPage, Time: 600 * time.Microsecond, How: Derived, Note: anyBoard, Source: slowFlash},
		{Quantity: HTTPTime, Target: "esp32", Time: 2 * ms, How: Assumed, Note: "a millisecond or two of parsing and copying", Source: noSource},
		{Quantity: HTTPTime, Target: "esp32s3", Time: 2 * ms, How: Assumed, Note: "the ESP32's", Source: noSource},
		{Quantity: HTTPTime, Target: "esp32c3", Time: 3 * ms, How: Assumed, Note: byClock, Source: noSource},
		{Quantity: JSONTime, Target: "esp32", Time: 2 * ms, How: Assumed, Note: "a millisecond or two of parsing and copying", Source: noSource},
		{Quantity: JSONTime, Target: "esp32s3", Time: 2 * ms, How: Assumed, Note: "the ESP32's", Source: noSource},
		{Quantity: JSONTime, Target: "esp32c3", Time: 3 * ms, How: Assumed, Note: byClock, Source: noSource},
		{Quantity: CBORTime, Target: "esp32", Time: 300 * time.Microsecond, How: Assumed, Note: "a copy of the block", Source: noSource},
		{Quantity: CBORTime, Target: "esp32s3", Time: 300 * time.Microsecond, How: Assumed, Note: "the ESP32's", Source: noSource},
		{Quantity: CBORTime, Target: "esp32c3", Time: 450 * time.Microsecond, How: Assumed, Note: byClock, Source: noSource},
	}
}

// take sets what a row is about. Rows about flash and Wi-Fi's rate are not the model's.
func (m *Model) take(t *Timing) {
	switch t.Quantity {
	case BootTime:
		m.Boot = t.Time
	case AppStartTime:
		m.AppStart = t.Time
	case WiFiTime:
		m.WiFi = t.Time
	case TLSTime:
		m.TLS = t.Time
	case HTTPSTime:
		m.HTTPS = t.Time
	case HTTPTime:
		m.HTTP = t.Time
	case HashRate:
		m.HashRate = t.Rate
	case VerifyTime:
		m.Verify = t.Time
	case JSONTime:
		m.JSON = t.Time
	case CBORTime:
		m.CBOR = t.Time
	}
}
