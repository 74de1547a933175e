// Package secureboot signs and verifies ESP32 images: Secure Boot V1 and V2,
// apps signed in their formats without hardware secure boot, and the signature
// trailer of FreeRTOS.
//
//	V1: image | 68-byte block                          ECDSA P-256, V1Block
//	V2: image | FF to 4096 | 4096-byte sector          V2Block
//	          sector = 1 to 3 blocks of 1216 bytes, FF
//	FreeRTOS: file | 80-byte trailer                   Trailer
//	V1 bootloader: sector 0 = IV | digest              BootloaderDigest
//
// SignV1, VerifyV1, SignV2 and VerifyV2 do what espsecure does, with its
// refusals. V1 and V2 are the checks that run on the chip; they plug into
// image.Verify.
package secureboot
