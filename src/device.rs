//! The one place that knows backends by name.

use burn::tensor::Device;

use crate::Error;

/// The devices of this build.
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

/// The device of this name; `auto` takes the fastest that this build has.
///
/// # Errors
/// If the build has none of this name.
pub fn device(name: &str) -> Result<Device, Error> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    let unknown = || Error::Device { found: name.to_owned(), known: device_names().join(", ") };
    let number: usize = number.parse().map_err(|_| unknown())?;
    let kind = if kind == "auto" { device_names()[device_names().len() - 1] } else { kind };
    match kind {
        "flex" | "auto" if number == 0 => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(number)),
        _ => Err(unknown()),
    }
}
