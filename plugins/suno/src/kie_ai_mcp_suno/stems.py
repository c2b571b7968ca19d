"""Names of the stems that the service takes out of a song."""

_NAMES = """
808, Accordion, Acoustic Guitar, Alto Saxophone, Arpeggiator, Backing Vocals, Bagpipes, Banjo, Baritone Saxophone,
Bass, Bass Guitar, Bassoon, Bells, Bongos, Brass Section, Celesta, Cello, Choir, Clarinet, Congas, Cowbell, Cymbals,
Didgeridoo, Digital Piano, Distorted Electric Guitar, Djembe, Double Bass, Drone, Drum Kit, Electric Bass, Electric
Guitar, Electric Piano, Electronic Drum Kit, Fiddle, Flute, French Horn, Glockenspiel, Guitar, Hand Clap, Harmonica,
Harp, Harpsichord, Hi-Hat, Horns, Keyboards, Kick, Koto, Lap Steel Guitar, Lead Electric Guitar, Lead Guitar, Lead
Vocal, Mandolin, Marimba, Melodica, Music Box, Oboe, Orchestra, Organ, Pedal Steel Guitar, Percussion, Piano,
Piccolo, Rhodes, Rhythm Acoustic Guitar, Rhythm Electric Guitar, Risers, Saxophone, Shaker, Sitar, Snare, Sound
Effects, Steel Drums, String Section, Synth, Synth Bass, Synth Brass, Synth Keys, Synth Lead, Synth Pad, Synth
Strings, Synth Voice, Tabla, Taiko, Tambourine, Tenor Saxophone, Theremin, Timpani, Trombone, Trumpet, Tuba,
Ukulele, Upright Bass, Vibraphone, Viola, Violin, Whistle, Woodwinds, Xylophone
"""
STEMS = frozenset(" ".join(_NAMES.split()).split(", "))
