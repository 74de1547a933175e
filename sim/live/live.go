// Package live connects the device and cloud code with sockets: mochi-mqtt as the
// message broker, a paho client for each device, S3 behind an HTTP listener, all on
// the loopback interface, on a clock that runs faster than the wall's.
//
//	device.Device -- NetOp --> Client == TLS, MQTT 3.1.1 ==> Broker --> cloud.Cloud
//	               <- Event --        <=====================        <--     |
//	                                           Bucket <=== HTTP, S3 ========+
//
// What a device or a service does is decided in packages device and cloud, as in
// virtual time. This package carries it.
package live

// An EnvironmentError says what the machine would not give: a port, memory, files.
type EnvironmentError struct {
	What string
	Err  error
}

func (e *EnvironmentError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *EnvironmentError) Unwrap() error { return e.Err }

// Environment tells this kind of error from faults of the simulator.
func (e *EnvironmentError) Environment() bool { return true }
