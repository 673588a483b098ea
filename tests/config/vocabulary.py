"""The keys and named choices that a user may type, as an acceptance list: the config models must take every one of them.

Notation: a dict is a section, a tuple lists the named choices of a key, ANY is a key with a free value, OPEN is a section
whose keys this list does not name. The models have further keys.
"""

from __future__ import annotations

from typing import Any

ANY: tuple[str, ...] = ()
OPEN: dict[str, Any] = {}


def _keys(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), ANY)


_IN_EVERY_STAGE: dict[str, Any] = {
    "enabled": ANY,
    "io": _keys("input_key output_key"),
    "validation": _keys("require_existing_paths check_shape_compatibility require_finite_inputs"),
    "assert_finite_output": ANY,
    "quality_checks": {
        **_keys("enabled sampling_fraction min_samples"),
        "action_on_fail": ("warn", "error"),
    },
    "diagnostics": _keys("enabled save_debug_images export_stats_csv sample_indices"),
    "cache": _keys("write_intermediate"),
}
_CLIP = _keys("sigma_clip max_iters")
_INSTRUMENT = {"name": ("all", "FGS1", "AIRS"), "per_channel": ANY}
_MAP_METHODS = ("none", "global", "per_channel", "per_pixel", "auto")

_ADC: dict[str, Any] = {
    "detector": _keys("bit_depth_in conversion_gain_e_per_adu saturation_level_e mask_saturating"),
    "offset_correction": {"method": _MAP_METHODS, **_keys("value table_path map_path offset_sign")},
    "gain_correction": {
        "method": _MAP_METHODS,
        **_keys("value table_path map_path renormalize_to_mean_one epsilon"),
    },
    "reference_pixel": {
        "use": ANY,
        "strategy": ("border_mean", "mask_mean", "per_row", "per_col"),
        "border": _keys("top bottom left right"),
        "robust": _CLIP,
    },
    "fpn_cleanup": {"enabled": ANY, "mode": ("col_median", "row_median", "both"), "valid_mask_path": ANY},
    "linearization": {"method": ("none", "lut", "poly"), **_keys("lut_path lut_interp poly_coeffs poly_norm_adu")},
    "clip": _keys("min max"),
    "units_out": ("ADU", "e"),
    "quality_checks": {
        **_IN_EVERY_STAGE["quality_checks"],
        "histogram_after": _keys("bins max_zero_frac max_saturated_frac"),
    },
}

_NONLINEARITY: dict[str, Any] = {
    "method": ("none", "lut", "poly", "per_pixel", "auto"),
    **_keys("valid_range max_correction_frac"),
}

_DARK: dict[str, Any] = {
    "dark_model": {"method": ("none", "master", "per_pixel_map", "auto")},
    "master": _keys("path scale_exposure reference_exposure_s"),
    "per_pixel_map": {"map_path": ANY, "units": ("e_per_s", "adu_per_s"), "scale_exposure": ANY},
    "temperature": {
        "enabled": ANY,
        "method": ("linear", "arrhenius"),
        **_keys("slope_per_K ref_temp_K activation_energy_eV temp_key"),
    },
    "bad_pixel_handling": {
        "bpm_path": ANY,
        "hot_pixel_detection": _keys("enabled sigma_threshold max_iters dilate_radius_px"),
        "replace": {"mode": ("none", "median4", "median8", "gaussian3"), "max_replace_fraction": ANY},
    },
    "cosmic_rays": _keys("enabled sigma_threshold grow_radius_px replace_mode"),
    "pedestal": _keys("enabled roi fixed_value"),
}

_FLAT: dict[str, Any] = {
    "flat_model": {
        "method": ("none", "master", "spectral", "hybrid", "auto"),
        **_keys("renormalize_to_mean_one epsilon valid_mask_path"),
        "clamp_gain": _keys("min_gain max_gain"),
    },
    "master": {
        "path": ANY,
        "illumination_normalization": {
            "enabled": ANY,
            "method": ("poly2d", "spline2d", "gaussian"),
            "robust": OPEN,
        },
    },
    "spectral": _keys("path channel_remap spectral_smoothing per_channel_norm"),
    "illumination_correction": {"enabled": ANY},
}

_CDS: dict[str, Any] = {
    "cds": {"mode": ("reset_signal", "frame_diff", "rolling_window", "odd_even", "reference_frame", "auto")},
    "pairing": {
        "policy": ("n_minus_1", "nearest", "time_window", "even_odd"),
        "order_by": ("index", "timestamp"),
        "even_odd": _keys("direction"),
        **_keys("window_s keep_unpaired"),
    },
    "reset_signal": _keys("reset_flag_key subtract_signal_minus_reset require_temporal_proximity"),
    "reference_frame": {"strategy": ("static", "running")},
    "rolling_window": {"baseline": ("median", "mean"), **_keys("half_window exclude_center robust")},
    "robust": {
        "sigma_clip": _keys("enabled sigma max_iters"),
        "outlier_replace": _keys("enabled threshold_sigma mode max_replace_fraction"),
    },
    "temporal_filter": {"enabled": ANY, "kind": ("highpass", "bandpass")},
    "normalization": {"method": ("none", "mad", "global_median", "per_channel_median")},
    "quality_checks": {
        **_IN_EVERY_STAGE["quality_checks"],
        "pairing_integrity": _keys("max_unpaired_fraction require_monotonic_timestamps max_time_gap_s"),
    },
}

_PHOTOMETRY: dict[str, Any] = {
    "instrument": _INSTRUMENT,
    "centroid": {
        "enabled": ANY,
        "method": ("barycenter", "gaussian2d", "quadratic", "peak", "phase_corr", "none"),
        "roi": ANY,
        "track": _keys("enabled max_step_px smooth_window"),
    },
    "background": {
        "method": ("annulus", "columns", "mesh", "poly2d", "spline2d", "none", "auto"),
        **dict.fromkeys(("annulus", "columns", "mesh", "poly2d", "spline2d", "robust"), OPEN),
    },
    "photometry": {"method": ("aperture", "psf", "optimal")},
    "aperture": {
        "shape": ("circular", "elliptical", "box"),
        "ellipse": OPEN,
        "box": OPEN,
        "aperture_correction": OPEN,
        **_keys("radius_px edge_sampling recenter_on_centroid mask_treatment"),
    },
    "psf": {
        "mode": ("fit", "matched_filter"),
        "model": ("gaussian", "moffat", "empirical"),
        "bounds": OPEN,
        "init": OPEN,
        **_keys("kernel_path fit_window"),
    },
    "optimal": {
        "trace_model": ("centerline_spline", "centerline_poly", "fixed_row"),
        "trace": OPEN,
        "profile": {"model": ("gaussian", "empirical"), **_keys("refit variance_weighted")},
        "window": _keys("half_height_px"),
        "robust": _CLIP,
    },
    "noise_model": _keys("read_noise include_shot_noise include_background_var"),
    "output": {"flux_units": ("ADU", "e", "e_per_s"), "save": OPEN},
    "flags": _keys("saturation excessive_bkg off_center too_many_replaced low_snr"),
}

_TRACE: dict[str, Any] = {
    "instrument": _INSTRUMENT,
    "along_wavelength": {
        "enabled": ANY,
        "method": ("poly", "spline", "lowess", "auto"),
        "poly": _keys("degree"),
        "spline": _keys("knots smoothing_lambda boundary"),
        "lowess": _keys("frac iters"),
        "robust": _keys("sigma_clip max_iters clip_mode"),
        "exclude": _keys("windows molecules"),
        "reference": ("out_of_transit", "per_frame"),
        "renormalize_to_median_one": ANY,
    },
    "along_time": {
        "enabled": ANY,
        "method": ("poly", "spline", "savgol", "biweight", "highpass", "gp", "auto"),
        "poly": _keys("degree"),
        "spline": OPEN,
        "highpass": _keys("window_frames"),
        "robust": OPEN,
        "target": ("divide", "subtract"),
        "mask_transit": ANY,
        "decorrelate": {"enabled": ANY, "vectors": ("x", "y", "width", "sky")},
    },
    "weights": _keys("use_variance"),
    "exclude": OPEN,
}

_PHASE: dict[str, Any] = {
    "ephemeris": {"source": ("auto", "given", "fit"), **_keys("period_d t0_h duration_h")},
    "fold": _keys("enabled wrap"),
    "windows": _keys("in_transit out_of_transit margin"),
    "binning": {"strategy": ("uniform", "adaptive", "snr_weighted"), **_keys("nbins min_points")},
    "outliers": {"replace_with": ("none", "median", "nan", "interpolate"), **_keys("sigma max_iters")},
}

_TOP_LEVEL_CALIB: dict[str, Any] = {
    "method": ("none", "temperature", "affine", "corel"),
    "io": _keys("pred_path truth_path features_path out_path model_path"),
    "score": _keys("edition sigma_fgs1 sigma_airs sigma_2024 fgs1_weight naive_mean naive_sigma sigma_floor"),
    "affine": _keys("ridge shift smooth_bins"),
    "temperature": _keys("per_bin grid_search shrinkage clamp_T"),
    "corel": {
        "model": {"backend": ("gatconv", "none"), **_keys("hidden layers heads dropout use_edge_features")},
        "graph": {"k_proximity": ANY},
        "fit": {"early_stop": OPEN, **_keys("epochs batch_size lr weight_decay")},
        "coverage": _keys("target"),
        "conformal": _keys("enabled method alpha per_bin"),
    },
}

#: the whole tree below the root of a run's config
VOCABULARY: dict[str, Any] = {
    "calib": {
        name: {**_IN_EVERY_STAGE, **own}
        for name, own in (
            ("adc", _ADC),
            ("nonlinearity", _NONLINEARITY),
            ("dark", _DARK),
            ("flat", _FLAT),
            ("cds", _CDS),
            ("photometry", _PHOTOMETRY),
            ("trace", _TRACE),
            ("phase", _PHASE),
        )
    }
    | {"top_level_calib": _TOP_LEVEL_CALIB},
    "runtime": _keys("num_workers threads_per_worker memory_limit scheduler seed"),
    "output": OPEN,
}

#: keys of the list that no model has, with a reason: a run draws no random number, and light curves may have NaN channels
REFUSED = {
    ("runtime", "seed"),
    ("calib", "photometry", "assert_finite_output"),
    ("calib", "trace", "assert_finite_output"),
    ("calib", "phase", "assert_finite_output"),
}
