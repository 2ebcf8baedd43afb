"""The parts of the model card that no measurement changes."""

NATURE = """\
A recording of a voice goes in; a frontal, neutral, evenly lit synthetic portrait comes out: the face that a voice
like this most often goes with in the data the model learned from.

- It is an **average face** for an apparent age and a gender reading. It is nobody's likeness, and not the speaker's.
- It states an age with an 80 % interval, how feminine or masculine the voice is read with a probability, how many
  seconds of speech were heard, and cautions.
- It says **nothing about ethnicity**, and infers none: not from the voice, the language or an accent.
- It draws **adults only**, 18 to 80. No child's face is in the data. A voice most likely a child's gets a young adult
  face and a caution.
- Its voices and its faces belong to different people. All that joins them are the labels age and gender, so nothing
  about one person's face can be learned from that person's voice.

The voice encoder is a compact network (mel energies of the project's spectrogram, convolutions along time, attentive
statistics pooling); the face side is a linear shape-and-texture model with a warp. It is not the network of the paper
Speech2Face (Oh et al., CVPR 2019): `docs/fidelity.md` compares them number by number."""

INTENDED = """\
For: showing what a voice tells and what it does not; teaching; a neutral face for a machine's own voice (with
`--given`); research that needs a small, openly licensed baseline with stated uncertainty.

Not for: identifying, finding or verifying anybody; deciding anything about a person (employment, credit, insurance,
access, policing, asylum, medical questions); checking anybody's age; presenting the picture as the speaker's face;
guessing ethnicity, origin, health or character. It can do none of these, and its scores below show how far off a single
reading can be.

Ask the speaker before you use their recording. Every picture carries standard metadata that says it is synthetic;
leave it in."""

VOICE_SOURCES = """\
Voices: 2,586 speakers, 9.2 hours. `docs/data.md` has the full statement with counts, splits and consent.

| source | speakers | labels used | licence |
|---|---|---|---|
| Common Voice 6.1, 59 languages | 2,085 | gender and age decade, self-reported, where given | CC0 1.0 |
| speechocean762 (OpenSLR 101), read English by Mandarin speakers | 250 | gender, age in years | CC BY 4.0 |
| LibriSpeech train-clean-100 (OpenSLR 12) | 251 | gender and age impression by annotators (LibriTTS-P) | CC BY 4.0 |

- R. Ardila, M. Branson, K. Davis, M. Henretty, M. Kohler, J. Meyer, R. Morais, L. Saunders, F. M. Tyers, G. Weber:
  *Common Voice: A Massively-Multilingual Speech Corpus*. LREC 2020.
- J. Zhang, Z. Zhang, Y. Wang, Z. Yan, Q. Song, Y. Huang, K. Li, D. Povey, Y. Wang: *speechocean762: An Open-Source
  Non-native English Speech Corpus For Pronunciation Assessment*. Interspeech 2021.
- V. Panayotov, G. Chen, D. Povey, S. Khudanpur: *Librispeech: An ASR corpus based on public domain audio books*.
  ICASSP 2015.
- M. Kawamura, R. Yamamoto, Y. Shirahata, T. Hasumi, K. Tachibana: *LibriTTS-P: A Corpus with Speaking Style and
  Speaker Identity Prompts for Text-to-Speech and Style Captioning*. Interspeech 2024. CC BY 4.0.

Changes: recordings were cut, joined, recoded and degraded for training; none is in the package."""

FACE_SOURCES = """\
Faces: photographs of 102 adult volunteers, and 75 generated faces of people who do not exist.

| source | faces | labels used | licence |
|---|---|---|---|
| Face Research Lab London Set | 102 | age, gender and group, self-reported | CC BY 4.0 |
| SFHQ-T2I (synthetic) | 75 | age and gender predicted by a network | MIT |

- L. DeBruine, B. Jones (2017): *Face Research Lab London Set* (version 5). figshare.
  doi:10.6084/m9.figshare.5047666.v5.
- D. Beniaguev (2024): *Synthetic Faces High Quality - Text 2 Image (SFHQ-T2I) Dataset*.
  doi:10.34740/kaggle/dsv/9548853.

Changes: photographs were aligned, averaged and regressed; no photograph, texture or coefficient of a single person is
in the package."""

SCORES_NOTE = """\
Measured on validation speakers, who are in neither training nor calibration. Each cell: value [95 % bootstrap
interval over speakers], n speakers, and what a cheat earns: the best constant answer on the same speakers. Ages are
those the speakers gave themselves; a decade counts as its middle, so even a perfect reading of somebody in their
twenties is off by up to 5 years. Channels: `clean` as recorded; `telephone` 8 kHz and G.711; `noisy` 10 dB of babble
or coloured noise. What was tried for the numbers that were not reached is in `docs/experiments.md`."""

LIMITS = """\
- **A voice tells little about a face.** Age and gender, roughly. The shape of nose, eyes or mouth, skin, hair and
  glasses of the picture come from the average and say nothing about the speaker.
- **Age is the weak point.** About 1,000 adults with an age of their own taught it. Stated ages are drawn towards the
  middle: older speakers are stated too young. Where the tables above show an error no smaller than the cheat's, one age
  stated to everybody would have been as near. Look at the interval, not at the number.
- **Few women, few old people.** Men outnumber women three to one in Common Voice, and 62 adults of all sources are 60
  or older, 18 of them women.
- **59 languages, few speakers each**: at most 84 in one language in Common Voice. Some languages have one or a
  handful.
- **Read speech.** Everybody reads from a page or a screen, mostly close to a microphone. Conversation, emotion,
  singing, whispering and illness are not in the data.
- **Children** are Mandarin speakers reading English, 6 to 12 years old, from one corpus recorded one way: a reading
  of a child elsewhere may be worse than the scores say, because a child and that corpus are partly the same thing
  here.
- **Gender** is two-valued here because the labels are. What is read is how the voice sounds, not who somebody is;
  speakers who gave another gender or none have taught no gender.
- **Faces above 45 years** follow generated pictures and a network's guess of their age, with hair and hairline set by
  hand.
- **Groups are small**: 69 white, 13 black, 10 west Asian, 9 east Asian volunteers and one of two groups. Faces of the
  small groups are shrunk towards the mean, and rest on few people."""

FAILURES = """\
- Some voices are read as the other gender: boys' voices before they break often are, and so is one in four of men who
  speak at 150 Hz and higher.
- Old voices are stated too young: the table by decade shows by how much. From 50 years on most people are older than
  the stated interval allows.
- Three in ten adults of speechocean762, the corpus that the children come from, get the caution of a child's voice,
  most of them women; elsewhere hardly anybody does, but far from the microphone one adult in eight.
- Telephone sound, noise, music behind the voice and under 3 s of speech make readings less sure. There are cautions
  for the first, the second and the last, but a caution can be missed.
- A recording of several people gives one portrait that mixes them. The caution about it compares stretches of 3 s and
  misses short turns.
- A synthesised voice is read like any other.
- Some recordings with a voice are refused. `voice recognised` above counts only those in which voice activity found
  enough speech; in the sheet of validation speakers five more had too little.
- `docs/images/speakers.png` in the repository shows validation speakers chosen by a stated rule, the worst included."""
