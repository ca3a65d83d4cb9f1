//! The one place that knows backends by name.

use burn::tensor::{Device, DeviceType, FloatDType};

use crate::Error;

/// The devices of this build, ascending by speed; `auto` is the best that is there.
pub fn device_names() -> &'static [&'static str] {
    &[
        "auto",
        "flex",
        #[cfg(feature = "wgpu")]
        "wgpu",
        #[cfg(feature = "vulkan")]
        "vulkan",
        #[cfg(feature = "cuda")]
        "cuda",
    ]
}

/// The device of this name; a number after a colon tells several apart (`cuda:1`).
///
/// # Errors
/// If the build has none of this name, or the machine lacks it.
pub fn device(name: &str) -> Result<Device, Error> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    let unknown = || Error::Device { found: name.to_owned(), known: device_names().join(", ") };
    let number: usize = number.parse().map_err(|_| unknown())?;
    let devices = match kind {
        "auto" => vec![best()],
        kind => devices(kind).ok_or_else(unknown)?,
    };
    devices.into_iter().nth(number).ok_or_else(|| Error::NoDevice { found: name.to_owned() })
}

/// The type that a model is computed in, whatever its file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeType {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 5 of them the exponent: large values overflow.
    F16,
    /// 16 bits, 8 of them the exponent.
    Bf16,
}

/// The device of this name, computing in a type from now on. It must not have been used before.
///
/// # Errors
/// As [`device`], or if the device does not know the type.
pub fn device_of(name: &str, compute: ComputeType) -> Result<Device, Error> {
    let mut device = device(name)?;
    let dtype = match compute {
        ComputeType::F32 => return Ok(device),
        ComputeType::F16 => FloatDType::F16,
        ComputeType::Bf16 => FloatDType::BF16,
    };
    device.configure(dtype).map_err(|error| Error::Compute { found: name.to_owned(), problem: error.to_string() })?;
    Ok(device)
}

/// Those of one kind that the machine has; nothing if the build does not know the kind.
fn devices(kind: &str) -> Option<Vec<Device>> {
    let kind = match kind {
        "flex" => DeviceType::Flex,
        #[cfg(feature = "wgpu")]
        "wgpu" => DeviceType::Wgpu,
        #[cfg(feature = "vulkan")]
        "vulkan" => DeviceType::Vulkan,
        #[cfg(feature = "cuda")]
        "cuda" => DeviceType::Cuda,
        _ => return None,
    };
    Some(Device::enumerate(kind).into_vec())
}

/// The fastest graphics processor, or else the CPU. One that software plays is slower than the CPU.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
fn best() -> Device {
    let is_hardware = |device: &Device| device.identity().is_some_and(|identity| identity.physical.is_some());
    let mut fastest_first = device_names().iter().rev().filter_map(|kind| devices(kind)).flatten();
    fastest_first.find(is_hardware).unwrap_or_else(Device::flex)
}

#[cfg(not(any(feature = "wgpu", feature = "vulkan", feature = "cuda")))]
fn best() -> Device {
    Device::flex()
}
