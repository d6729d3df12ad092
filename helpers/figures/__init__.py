"""The figures of the notebooks: pictures, curves and charts."""
