//! The one place that knows backends by name.

use burn::tensor::{Device, DeviceType};

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
