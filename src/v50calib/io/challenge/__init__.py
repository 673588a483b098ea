"""The challenge's folder: parquet frames and maps, tables of axes, ADC constants and stars."""
