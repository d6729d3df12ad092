"""Shared code of the notebooks, read from the top down.

====================  ==========================================================
``__main__``          the command line: ``python -m helpers --help``
``pretraining``       the one pre-training loop and its settings
``evaluation``        features, k-NN, linear probe: how good is a backbone?
``supervised``        the one supervised loop: baseline, MLP head, fine-tuning
``methods``           one file a method: what it sees, what it minimises
``checkpoints``       save, resume, list and load; the backbone file
``results``           one record a finished run, tables made of the records
``plots``             every figure the notebooks show
``views``             what a method sees: batched random views, jigsaw patches
``losses``            PIRL's losses and its memory bank
``data``, ``demo``    demo | stl10 | cifar10 | folder
``backbones``         torchvision's networks without their classifier
``optimizers``        optimizers by name, warm-up and cosine schedule
``notebook``          questions, Colab, Drive, downloads, showing source
====================  ==========================================================

A module imports only from rows below its own.
"""
