"""Shared code of the notebooks, read from the top down.

========================  ========================================================
``__main__``              the command line: ``python -m helpers --help``
``execute``               runs the notebooks in order: ``make run``
``address``               the project's address, in badges and setup cells
``commands``              what each command of the command line does
``flags``                 what each command lets its user choose
``pretraining``           the one pre-training loop
``protocols``             from a backbone to a record of the results table
``choices``               what the notebooks ask, and the answers
``sessions``              what one process holds while it trains
``settings``              everything a pre-training run depends on
``evaluation``            features, k-NN, linear probe: how good is a backbone?
``supervised``            the one supervised loop: baseline, MLP head, fine-tuning
``classifiers``           what ends in class scores: heads, backbone with head
``methods``               one file a method: what it sees, what it minimises
``results``               one record a finished run, tables made of the records
``plots``                 every figure of results: maps, histograms, bars
``conversion``            other projects' checkpoints, made into backbone files
``export``                backbones for use elsewhere
``checkpoints``           save, resume, list and load; the backbone file
``training``              what every training lets its user choose
``curves``                training curves, redrawn while they grow
``pictures``              figures made of pictures, and the style of all
``views``                 what a method sees: batched random views, jigsaw patches
``losses``                PIRL's three losses, and SupCon's
``targets``               slow copies of a network, for BYOL, MoCo and DINO
``memory``                what features are compared with: bank, queue, prototypes
``geometry``, ``colors``  crops, flips, blur and colours as small matrices
``photometric``           colour distortions that are no matrices
``data``                  data sets by name: demo | stl10 | cifar10 | folder
``colab``                 where the notebook runs: Drive, files in and out
``folder``                your own images in class folders
``demo``                  draws the demo images
``demo_scenes``           the backgrounds of the demo images
``splits``                the form of every data set: images and labels
``demo_shapes``           what the demo images are drawn of
``backbones``             torchvision's networks without their classifier
``optimizers``            optimizers by name, warm-up and cosine schedule
``streaming``             images batch by batch, from memory or from files
``randomness``            a step's random numbers, for any number of processes
``view_settings``         the distribution a random view is drawn from
``hardware``              device, precision, and their names for people
``logs``                  a run's CSV table and TensorBoard events
``notebook``              questions, and showing source
``convolution``           convolutions of maps of a few places, faster on a CPU
========================  ========================================================

A module imports only from rows below its own.
"""
