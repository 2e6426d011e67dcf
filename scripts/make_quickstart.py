"""Write the embedded demo corpus (gene mentions, IOBES) to src/hf_distill/quickstart.

Every sentence is made from a hand-written template and hand-written word lists; none is taken from a corpus, and the
"results" in them are invented. The corpus is built so that distillation has something to show: few labelled sentences,
names that are mostly different in train and in devel/test, and the same slots filled now with genes, now with drugs,
cell lines or diseases, so that knowing the names matters. The unlabelled text is transfer text: it holds other
sentences, but its names include those of devel and test.

Tag rule: the gene or protein name itself, not a following "gene", "mRNA" or "protein" unless part of the name.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SEED = 20240607
SIZES = {"test.tsv": 200, "devel.tsv": 100, "train.tsv": 400, "unlabeled.txt": 2000}
GENE_SHARE = 0.5  # how often a slot open to both takes a gene
LEAD_SHARE = 0.25  # sentences that open with a lead-in such as "In this study,"
LEAD_LIMIT = 25  # longer templates take no lead-in
TRAIN_TEMPLATES = 0.6  # part of the templates and lead-ins that train may use

# Entries are parted by ";". "SYM=full name" can also fill a pair slot as "full name ( SYM )"; "|" parts spellings.
# All names of one entry fall in the same split, so that no full name gives its symbol away.
GENES = """
TP53|p53; BRCA1; BRCA2; TNF-alpha=tumor necrosis factor alpha; EGFR=epidermal growth factor receptor; EGF=epidermal
growth factor; GAPDH=glyceraldehyde-3-phosphate dehydrogenase; IL-1beta=interleukin-1 beta; IL-2=interleukin-2;
IL-4=interleukin-4; IL-6=interleukin-6; IL-8=interleukin-8; IL-10=interleukin-10; IL-17A=interleukin-17A;
IL-18=interleukin-18; NF-kappaB|NF-kappa B=nuclear factor kappa B; VEGF=vascular endothelial growth factor; bFGF=basic
fibroblast growth factor; PDGF=platelet-derived growth factor; TGF-beta1=transforming growth factor beta 1;
IGF-I=insulin-like growth factor I; IGFBP-3=insulin-like growth factor binding protein 3; HGF=hepatocyte growth factor;
NGF=nerve growth factor; BDNF=brain-derived neurotrophic factor; GDNF=glial cell line-derived neurotrophic factor;
CTGF=connective tissue growth factor; GM-CSF=granulocyte-macrophage colony-stimulating factor; G-CSF=granulocyte
colony-stimulating factor; M-CSF=macrophage colony-stimulating factor; EPO=erythropoietin; LIF=leukemia inhibitory
factor; SCF=stem cell factor; IFN-gamma=interferon gamma; interferon beta; MCP-1=monocyte chemoattractant protein 1;
MIP-1alpha=macrophage inflammatory protein 1 alpha; RANTES; CXCR4; CCR5; SDF-1=stromal cell-derived factor 1;
CRP=C-reactive protein; ICAM-1=intercellular adhesion molecule 1; VCAM-1=vascular cell adhesion molecule 1; E-selectin;
P-selectin; E-cadherin; N-cadherin; beta-catenin; NCAM=neural cell adhesion molecule; fibronectin; osteopontin;
osteocalcin; thrombospondin-1; MMP-2=matrix metalloproteinase-2; MMP-9=matrix metalloproteinase-9; TIMP-1=tissue
inhibitor of metalloproteinases 1; PAI-1=plasminogen activator inhibitor 1; tPA=tissue plasminogen activator; urokinase;
thrombin; fibrinogen; factor VIII; factor IX; VWF=von Willebrand factor; albumin; transferrin; ferritin;
ApoE=apolipoprotein E; ApoA-I=apolipoprotein A-I; LDLR=low density lipoprotein receptor; LPL=lipoprotein lipase;
CETP=cholesteryl ester transfer protein; MAPK14; p38 MAPK|p38; ERK1=extracellular signal-regulated kinase 1; ERK2;
JNK1=c-Jun N-terminal kinase 1; BRAF|B-Raf; KRAS|K-Ras; AKT1|Akt=protein kinase B; PTEN; mTOR=mammalian target of
rapamycin; GSK-3beta=glycogen synthase kinase 3 beta; PKC alpha=protein kinase C alpha; PKA=protein kinase A;
AMPK=AMP-activated protein kinase; calmodulin; calcineurin; c-Src; Lck; Syk; BTK=Bruton tyrosine kinase; JAK2=Janus
kinase 2; STAT1; STAT3=signal transducer and activator of transcription 3; SOCS3=suppressor of cytokine signaling 3;
FAK=focal adhesion kinase; paxillin; vinculin; ILK=integrin-linked kinase; c-Myc|MYC; c-Fos; c-Jun; ATF4=activating
transcription factor 4; CREB=cAMP response element binding protein; C/EBPbeta=CCAAT/enhancer binding protein beta; Sp1;
Egr-1=early growth response 1; Sox2; Oct4; Nanog; Pax6; GATA3; RUNX2; FOXO3a; FOXP3=forkhead box P3;
HNF-4alpha=hepatocyte nuclear factor 4 alpha; MyoD; Twist1; Snail; ZEB1; HIF-1alpha=hypoxia-inducible factor 1 alpha;
VHL; PPARgamma=peroxisome proliferator-activated receptor gamma; RXRalpha=retinoid X receptor alpha; RARbeta=retinoic
acid receptor beta; VDR=vitamin D receptor; ER alpha=estrogen receptor alpha; androgen receptor; glucocorticoid
receptor; AhR=aryl hydrocarbon receptor; LXRalpha=liver X receptor alpha; Bcl-2; Bcl-xL; Mcl-1; Bax; caspase-3;
caspase-8; cytochrome c; XIAP=X-linked inhibitor of apoptosis; survivin; PARP-1; TRAIL; FasL=Fas ligand; CDKN1A|p21;
p27Kip1|p27; p16INK4a; cyclin D1; cyclin E; cyclin B1; CDK2=cyclin-dependent kinase 2; CDK4=cyclin-dependent kinase 4;
E2F1; MDM2; ATM=ataxia telangiectasia mutated; Chk1=checkpoint kinase 1; RAD51; XRCC1; MLH1; PCNA=proliferating cell
nuclear antigen; Ki-67; TERT=telomerase reverse transcriptase; DNMT1=DNA methyltransferase 1; HDAC1=histone deacetylase
1; SIRT1=sirtuin 1; EZH2; p300; histone H3; HSP70=heat shock protein 70; HSP90=heat shock protein 90; HSP27=heat shock
protein 27; GRP78=glucose-regulated protein 78; HO-1=heme oxygenase 1; Nrf2; Keap1; SOD1=superoxide dismutase 1;
catalase; GPX1=glutathione peroxidase 1; GSTP1=glutathione S-transferase P1; thioredoxin; iNOS=inducible nitric oxide
synthase; eNOS=endothelial nitric oxide synthase; COX-2=cyclooxygenase-2; 5-lipoxygenase; ACE=angiotensin-converting
enzyme; renin; angiotensinogen; endothelin-1; ANP=atrial natriuretic peptide; BNP=brain natriuretic peptide; insulin;
IRS-1=insulin receptor substrate 1; GLUT4=glucose transporter 4; glucagon; GLP-1=glucagon-like peptide 1; leptin;
adiponectin; ghrelin; glucokinase; PEPCK=phosphoenolpyruvate carboxykinase; UCP1=uncoupling protein 1; fatty acid
synthase; SREBP-1c=sterol regulatory element binding protein 1c; HMG-CoA reductase; CYP3A4; CYP2D6; CYP1A1=cytochrome
P450 1A1; MDR1|ABCB1=P-glycoprotein; ABCG2=breast cancer resistance protein; TPMT=thiopurine methyltransferase;
CFTR=cystic fibrosis transmembrane conductance regulator; AQP4=aquaporin-4; TRPV1; KCNQ1; hERG; connexin 43;
RyR2=ryanodine receptor 2; phospholamban; CD4; CD8; CD40; CD44; CD34; CD14; CTLA-4=cytotoxic T lymphocyte antigen 4;
PD-1=programmed death 1; TLR2=toll-like receptor 2; TLR4=toll-like receptor 4; MyD88; TRAF6; NLRP3; HMGB1=high mobility
group box 1; perforin; granzyme B; HLA-DR; IgE=immunoglobulin E; beta-actin|actin; alpha-tubulin; vimentin; GFAP=glial
fibrillary acidic protein; nestin; cytokeratin 18; alpha-smooth muscle actin; troponin T; dystrophin; ezrin; RhoA; Rac1;
Cdc42; clathrin; caveolin-1; dynamin; APP=amyloid precursor protein; presenilin-1; tau; alpha-synuclein; parkin; LRRK2;
huntingtin; prion protein; TrkB; synaptophysin; PSD-95=postsynaptic density protein 95; tyrosine hydroxylase;
SERT=serotonin transporter; dopamine transporter; COMT=catechol-O-methyltransferase; MAOA=monoamine oxidase A;
NPY=neuropeptide Y; CRH=corticotropin-releasing hormone; proopiomelanocortin; oxytocin; vasopressin; prolactin;
GH=growth hormone; FSH=follicle-stimulating hormone; LH=luteinizing hormone; TSH=thyroid-stimulating hormone;
PTH=parathyroid hormone; calcitonin; somatostatin; gastrin; CCK=cholecystokinin; VIP=vasoactive intestinal peptide;
substance P; HER2|ErbB2; c-Met; c-Kit; FLT3; RET; VEGFR-2|KDR; FGFR3; Notch1; Jagged1; Shh=sonic hedgehog; Gli1; Wnt3a;
APC=adenomatous polyposis coli; BMP-2=bone morphogenetic protein 2; BMP4; Smad3; Smad4; activin A; follistatin;
myostatin; PSA=prostate-specific antigen; CEA=carcinoembryonic antigen; alpha-fetoprotein; MUC1; mesothelin;
MeCP2=methyl CpG binding protein 2; SMN1=survival motor neuron 1; TSC2=tuberin; NF1=neurofibromin; WT1; LKB1; PML; GAL4;
RAD52; CDC28; engrailed; RecA; beta-galactosidase; ubiquitin; Skp2; cathepsin B; trypsin; lysozyme; lactoferrin;
myeloperoxidase; surfactant protein A; alkaline phosphatase; LDH=lactate dehydrogenase; ALT=alanine aminotransferase;
creatine kinase; AChE=acetylcholinesterase; ALDH2=aldehyde dehydrogenase 2; G6PD=glucose-6-phosphate dehydrogenase;
DHFR=dihydrofolate reductase; thymidylate synthase; ODC=ornithine decarboxylase; MTHFR=methylenetetrahydrofolate
reductase; xanthine oxidase; arginase-1; PI3K=phosphatidylinositol 3-kinase; PTP1B=protein tyrosine phosphatase 1B;
PP2A=protein phosphatase 2A; Grb2; 14-3-3 zeta
"""

CHEMICALS = """
LPS=lipopolysaccharide; PMA=phorbol myristate acetate; DMSO=dimethyl sulfoxide; ATRA=all-trans retinoic acid;
5-FU=5-fluorouracil; MTX=methotrexate; CsA=cyclosporin A; DEX=dexamethasone; NAC=N-acetylcysteine; PGE2=prostaglandin
E2; LTB4=leukotriene B4; H2O2=hydrogen peroxide; cAMP=cyclic AMP; cGMP=cyclic GMP; ATP=adenosine triphosphate;
GTP=guanosine triphosphate; IP3=inositol trisphosphate; DAG=diacylglycerol; ROS=reactive oxygen species;
ACh=acetylcholine; GABA=gamma-aminobutyric acid; DHA=docosahexaenoic acid; EPA=eicosapentaenoic acid; DOX=doxorubicin;
DES=diethylstilbestrol; E2=estradiol; DHT=dihydrotestosterone; T3=triiodothyronine; T4=thyroxine;
S1P=sphingosine-1-phosphate; LPA=lysophosphatidic acid; 5-HT=serotonin; 6-OHDA=6-hydroxydopamine; MPTP; kainic acid;
NMDA=N-methyl-D-aspartate; AMPA; STZ=streptozotocin; CCl4=carbon tetrachloride; DEN=diethylnitrosamine; BSO=buthionine
sulfoximine; GSH=glutathione; MDA=malondialdehyde; 8-OHdG; AZT=zidovudine; BrdU=bromodeoxyuridine; EDTA; TCDD;
DHEA=dehydroepiandrosterone; PCBs; LDL cholesterol; aspirin; ibuprofen; indomethacin; celecoxib; paracetamol; metformin;
rosiglitazone; pioglitazone; glibenclamide; simvastatin; atorvastatin; warfarin; heparin; clopidogrel; losartan;
captopril; enalapril; propranolol; nifedipine; verapamil; digoxin; furosemide; amiloride; cisplatin; carboplatin;
paclitaxel; docetaxel; vincristine; etoposide; gemcitabine; tamoxifen; raloxifene; imatinib; gefitinib; bortezomib;
rapamycin; tacrolimus; wortmannin; genistein; curcumin; resveratrol; quercetin; PD98059; LY294002; SB203580; U0126;
SP600125; MG132; Y-27632; H89; AG490; NS-398; ICI 182780; RU486; KN-93; AG1478; PP2; Z-VAD-FMK; BAPTA-AM; forskolin;
isoproterenol; phenylephrine; carbachol; atropine; morphine; naloxone; haloperidol; clozapine; fluoxetine; diazepam;
ketamine; halothane; ethanol; nicotine; cocaine; caffeine; capsaicin; glucose; fructose; lactate; pyruvate; cholesterol;
ceramide; palmitate; oleate; sodium butyrate; melatonin; dopamine; histamine; adenosine; glutamate; glycine; taurine;
L-arginine; homocysteine; urea; creatinine; bilirubin; uric acid; vitamin C; vitamin E; folate; zinc; iron; copper;
selenium; magnesium; lithium; cadmium; sodium arsenite; tunicamycin; thapsigargin; brefeldin A; cycloheximide;
actinomycin D; puromycin; tetracycline; rifampicin; ampicillin; gentamicin; vancomycin; amphotericin B; fluconazole;
chloroquine; ribavirin; lamivudine; acyclovir; colchicine; nocodazole; cytochalasin D; ouabain; tetrodotoxin;
bafilomycin A1; okadaic acid; trichostatin A; valproic acid; 5-azacytidine; bisphenol A; linoleic acid; arachidonic
acid; progesterone; testosterone; cortisol; aldosterone; hyaluronic acid; chondroitin sulfate; monosodium urate
"""

DISEASES = """
COPD=chronic obstructive pulmonary disease; RA=rheumatoid arthritis; SLE=systemic lupus erythematosus; MS=multiple
sclerosis; AML=acute myeloid leukemia; CLL=chronic lymphocytic leukemia; HCC=hepatocellular carcinoma; NSCLC=non-small
cell lung cancer; AD=Alzheimer disease; PD=Parkinson disease; ALS=amyotrophic lateral sclerosis; CHF=congestive heart
failure; MI=myocardial infarction; ARDS=acute respiratory distress syndrome; IBD=inflammatory bowel disease;
PCOS=polycystic ovary syndrome; NAFLD=nonalcoholic fatty liver disease; ESRD=end-stage renal disease; AIDS=acquired
immunodeficiency syndrome; DVT=deep vein thrombosis; DMD=Duchenne muscular dystrophy; ADHD=attention deficit
hyperactivity disorder; GBM=glioblastoma multiforme; OSA=obstructive sleep apnea; AMD=age-related macular degeneration;
T2DM=type 2 diabetes mellitus; breast cancer; prostate cancer; colorectal cancer; gastric cancer; ovarian cancer;
pancreatic cancer; bladder cancer; melanoma; neuroblastoma; osteosarcoma; multiple myeloma; Hodgkin lymphoma; renal cell
carcinoma; cervical carcinoma; asthma; atopic dermatitis; psoriasis; obesity; hypertension; atherosclerosis; stroke;
sepsis; septic shock; pneumonia; tuberculosis; malaria; chronic hepatitis B; liver cirrhosis; acute pancreatitis;
ulcerative colitis; Crohn disease; celiac disease; osteoporosis; osteoarthritis; gout; schizophrenia; major depression;
bipolar disorder; epilepsy; migraine; Down syndrome; Turner syndrome; Marfan syndrome; sickle cell anemia;
beta-thalassemia; hemophilia A; preeclampsia; endometriosis; diabetic nephropathy; retinitis pigmentosa; Graves disease;
sarcoidosis; Huntington disease
"""

CELL_LINES = """
HeLa; HEK293; MCF-7; A549; MDA-MB-231; SK-BR-3; T47D; LNCaP; PC-3; DU145; Jurkat; U2OS; HepG2; Huh7; Caco-2; HT-29;
HCT116; SW480; THP-1; RAW 264.7; COS-7; Vero; BHK-21; L929; NIH 3T3; C2C12; 3T3-L1; PC12; SH-SY5Y; Neuro2a; U87MG;
B16F10; BaF3; 32D; HL-60; K562; U937; Raji; Ramos; Daudi; MDCK; LLC-PK1; MIN6; HaCaT; MG63; Saos-2; H1299; Calu-3;
BEAS-2B; PANC-1; KATO III; OVCAR-3; SKOV3; Ishikawa; CV-1; Hep3B; T24; MKN45; H4IIE; GH3; NB4; MOLT-4; CHO; P388
"""

CELL_TYPES = """
hepatocytes; macrophages; T cells; B cells; natural killer cells; dendritic cells; neutrophils; eosinophils; mast cells;
platelets; erythrocytes; peripheral blood mononuclear cells; monocytes; fibroblasts; keratinocytes; melanocytes;
osteoblasts; osteoclasts; chondrocytes; adipocytes; myoblasts; cardiomyocytes; vascular smooth muscle cells; endothelial
cells; bronchial epithelial cells; mesangial cells; podocytes; astrocytes; microglia; cortical neurons; dorsal root
ganglion neurons; oligodendrocytes; Schwann cells; Sertoli cells; granulosa cells; oocytes; spermatocytes; embryonic
stem cells; mesenchymal stem cells; thymocytes; pancreatic beta cells; Kupffer cells; trophoblasts
"""

TISSUES = """
liver; kidney; heart; lung; spleen; thymus; brain; cerebellum; hippocampus; hypothalamus; striatum; spinal cord; retina;
skeletal muscle; adipose tissue; skin; bone marrow; cartilage; pancreas; small intestine; colon; gastric mucosa;
bladder; prostate; testis; ovary; uterus; placenta; mammary gland; adrenal cortex; pituitary; aorta; cornea; renal
cortex; prefrontal cortex; salivary gland; tonsil; lymph nodes
"""

SPECIES = """
mice; rats; rabbits; guinea pigs; dogs; pigs; sheep; rhesus monkeys; humans; cattle; chickens; Wistar rats; BALB/c mice;
C57BL/6 mice; Sprague-Dawley rats; hamsters; horses; newborn piglets; ferrets; gerbils; cats; cynomolgus monkeys;
Fischer 344 rats; Wistar-Kyoto rats
"""

ORGANISMS = """
zebrafish; Xenopus laevis; Drosophila melanogaster; Caenorhabditis elegans; Saccharomyces cerevisiae;
Schizosaccharomyces pombe; Escherichia coli; Bacillus subtilis; Arabidopsis thaliana; Nicotiana tabacum; Oryza sativa;
sea urchins; rainbow trout; Neurospora crassa; Dictyostelium discoideum; Zea mays; Pichia pastoris; Aspergillus
nidulans; Pseudomonas aeruginosa; Bombyx mori
"""

METHODS = """
RT-PCR; PCR; ELISA; Western blotting; Northern blot analysis; flow cytometry; immunohistochemistry; HPLC; SDS-PAGE; MRI;
radioimmunoassay; mass spectrometry; confocal microscopy; in situ hybridization; MTT assay; EMSA; SSCP; PCR-RFLP;
Southern blotting; TUNEL staining; microarray analysis; co-immunoprecipitation; NMR spectroscopy; DEXA; FISH; LC-MS;
electron microscopy; surface plasmon resonance; patch-clamp recording; direct sequencing; immunofluorescence; GC-MS;
ChIP; FACS analysis; nephelometry; two-dimensional electrophoresis
"""

AGENTS = """
HIV-1; HBV=hepatitis B virus; HCV=hepatitis C virus; EBV=Epstein-Barr virus; CMV=cytomegalovirus; SV40; HPV16; HTLV-I;
HSV-1=herpes simplex virus type 1; influenza A virus; adenovirus type 5; VSV=vesicular stomatitis virus; Sendai virus;
DENV=dengue virus; measles virus; rotavirus; vaccinia virus; Helicobacter pylori; Plasmodium falciparum; HHV-8; RSV;
Staphylococcus aureus; Listeria monocytogenes; Toxoplasma gondii; Candida albicans; Salmonella typhimurium
"""

MEASURES = """
BMI=body mass index; blood pressure; GFR=glomerular filtration rate; FEV1=forced expiratory volume in 1 s; heart rate;
LVEF=left ventricular ejection fraction; ESR=erythrocyte sedimentation rate; WBC=white blood cell count; body weight;
IMT=intima-media thickness; BMD=bone mineral density; NIHSS; APACHE II; VO2max; hematocrit; platelet count; QTc;
CDAI=Crohn disease activity index; waist circumference; PSQI; MMSE; SF-36; birth weight; serum osmolality; gestational
age
"""

LEADS = """
in this study; interestingly; furthermore; in addition; moreover; as expected; in our hands; surprisingly; in contrast;
however; taken together; we found that; here we report that; our data indicate that; it was shown that; we conclude
that; by contrast; in a second experiment; on the other hand; the data show that; notably; we noted that; under these
conditions; consistent with earlier work
"""

# Slots. G: gene; X: gene or chemical; A: the same, as "full name ( SYM )"; U: gene or any other name; V: gene or
# measure; W: gene or virus/microbe; Q: gene or cell line; D: chemical; Z: disease; E: disease as a pair; L: cell line;
# C: cell type; T: tissue; S: animals; O: other organisms; M: method; H: virus/microbe; B: measure.
# N, K (larger), P (per cent), F (decimal), I (significance level): numbers.
# A template ends with a full stop at the end of its line and may run over lines.
TEMPLATES = """
inhibition of {X} reduced {X} levels in {L} cells.
levels of {X} were measured by {M} in serum samples from {N} patients.
treatment with {X} for {N} h increased the expression of {G} in {C}.
{X} induced apoptosis of {L} cells in a dose-dependent manner.
we examined the effect of {X} on the proliferation of {C}.
the concentration of {X} was significantly higher in patients with {Z} than in healthy controls (P < {I}).
{X} and {X} were both required for the differentiation of {C}.
these results suggest that {X} plays a role in the pathogenesis of {Z}.
no effect of {X} on {X} was seen in {L} cells.
pretreatment with {X} abolished the response to {X}.
neither {X} nor {X} altered the viability of {L} cells.
injection of {X} into {S} caused a {P}% decrease in food intake.
addition of {X} to the culture medium restored growth within {N} days.
plasma {X} correlated with {V} (r = {F}, P < {I}).
{A} is known to modulate the function of the {T}.
serum {A} was determined in {K} subjects by {M}.
we studied the interaction between {X} and {X} in {C}.
the binding of {X} to {X} was saturable and reversible.
{X}-induced migration of {L} cells was blocked by {X}.
{X}-treated {S} showed less damage to the {T} than untreated animals.
accumulation of {X} in the {T} was an early event.
the role of {X} in {Z} remains unclear.
depletion of {X} made {L} cells more sensitive to {X}.
cells were incubated with {X}, {X} or vehicle for {N} min.
{X} had little effect when given alone, but it enhanced the action of {X} by {P}%.
release of {X} from {C} was stimulated by {X}.
among {K} samples of {T}, {X} was detected in {P}%.
{X} is a potent inhibitor of {G} activity.
uptake of {X} by {C} was measured at {N} and {N} min.
the ratio of {X} to {X} fell from {F} to {F} after surgery.
{U}, {U} and {U} are discussed in this review.
little is known about {U} in {O}.
the literature on {U} and {U} is reviewed.
abbreviations used in this paper include {U}, {U} and {U}.
our data on {U} do not support a link with {U}.
several groups have worked on {U}, but the findings differ widely.
a sensitive assay for {X}, based on {M}, is described.
urinary excretion of {X} rose {N}-fold after infusion of {X}.
both {X} and {X} crossed the membrane of the {T}.
when {C} were exposed to {X}, secretion of {X} fell by {P}%.
elevated {V} was an independent predictor of {Z} in a cohort of {K} patients.
{V}, age and sex were entered into the regression model together with {V}.
there was no association between {V} and {V} after adjustment for age (odds ratio {F}, 95% confidence interval
{F}-{F}).
patients in the highest quartile of {V} had more severe {Z}.
changes in {V} were not related to survival in {Z}.
we compared {V} and {V} as markers of disease activity in {Z}.
{W} was detected by {M} in {N} of {K} specimens.
the host response to {W} in {C} involves {X}.
antibodies against {W} were found in {P}% of the sera.
{W} and {W} were each introduced into {L} cells with similar efficiency.
extracts containing {Q} were separated on gels and stained.
strong bands were obtained with {Q} and {Q}, whereas {Q} gave no signal.
{Q} served as the positive control.
results for {Q}, {Q} and {Q} are given in table {N}.
{X} prevented the loss of {C} in {S} fed a high-fat diet.
the protective effect of {X} against {Z} was lost after {N} weeks.
the half-life of {X} in {L} cells was about {N} h.
local delivery of {X} to the {T} may offer a new treatment for {Z}.
we asked whether {X} could replace {X} in the maintenance of {C}.
{X} but not {X} caused contraction of strips of {T}.
a combination of {X} and {X} was more effective than either alone ({P}% versus {P}%).
the amount of {X} in {T} was {F} ng/mg in controls and {F} ng/mg in {S} with {Z}.
exposure to {X} led to rapid translocation of {G} to the nucleus in {L} cells.
{X} blocks the {G} pathway and thereby slows the growth of {Z}.
{X}-mediated activation of {G} was sensitive to {X}.
the stimulatory action of {X} on {G} transcription was mimicked by {X} and {X}.
in {C}, {X} raised intracellular calcium, an effect that was prevented by {X}.
{A} and {A} were assayed in the same samples.
the effect of {A} on the {T} is not well understood.
we report that {A} accumulates in the {T} of aged {S}.
measurement of {A} may help to identify patients with {Z}.
the present work deals with {A} in {C}.
a low dose of {A} was sufficient to protect {S} from {Z}.
withdrawal of {X} was followed by death of {C} within {N} h.
high {X} at diagnosis was associated with poor outcome in {E}.
it has been proposed that {X} links {Z} to {Z}, although direct evidence is scarce.
responses to {X} did not differ between {S} and {S}.
the site at which {X} acts in the {T} was mapped by {M}.
of the {N} factors tested, only {X}, {X} and {X} were active.
stimulation with {X} plus {X} gave the highest values.
{C} from patients with {Z} produced less {X} than did those from controls.
oral {X} was well tolerated, and {X} values returned to normal in {N} of {K} patients.
{X} accounted for less than {P}% of the total activity.
the distribution of {X} in the {T} of {S} was studied by {M}.
crystals of {X} diffracted to 2.{N} A.
mutations in {G} were found in {N} of {K} families with {Z}.
the {G} promoter contains two binding sites for {G}.
{G} mRNA was abundant in the {T} but absent from the {T}.
{G} knockout mice develop {Z} by {N} weeks of age.
phosphorylation of {G} by {G} was required for this response.
a polymorphism in the {G} gene was associated with {Z} in {K} subjects.
we cloned and sequenced the {G} gene of {O}.
overexpression of {G} in {L} cells activated {G}.
transcription of {G} is repressed by {G} in {C}.
small interfering RNA against {G} reduced invasion of {L} cells by {P}%.
{G} forms a complex with {G} and {G} at the plasma membrane.
the C-terminal domain of {G} interacts directly with {G}, as shown by {M}.
{G} is a member of a large family of proteins that includes {G} and {G}.
immunostaining for {G} was positive in {N} of {K} tumors, whereas {G} was weak or absent.
the tumor suppressor {G} is frequently inactivated in {Z}.
degradation of {G} by the proteasome depends on {G}.
a dominant-negative mutant of {G} blocked signaling through {G} in {L} cells.
methylation of the {G} promoter was detected in {P}% of cases of {Z}.
recombinant human {G} was expressed in {O} and purified to homogeneity.
a monoclonal antibody to {G} recognized a band of {N} kDa.
the human {G} gene spans {N} kb and consists of {N} exons.
{G}, a transcription factor, controls the expression of {G} during development of the {T}.
loss of heterozygosity at the {G} locus occurred in {P}% of informative cases.
expression of the genes for {G}, {G}, {G} and {G} was altered in this disorder.
chromatin immunoprecipitation showed that {G} occupies the enhancer of {G}.
{D} increased the abundance of {G} mRNA {N}-fold in {L} cells, and this was not affected by {D}.
{D} inhibited {G} kinase activity with an IC50 of {F} nM.
in the presence of {D}, {G} failed to bind DNA.
resistance to {D} in {L} cells was accompanied by amplification of {G}.
{D} suppressed the phosphorylation of {G} and {G} without a change in total protein.
two alternatively spliced transcripts of {G} were identified in {O}.
the amino acid sequence of {G} from {O} is {P}% identical to that of the human protein.
ectopic {G} rescued the phenotype of the null mutant.
cells lacking {G} were arrested in G1 and did not respond to {D}.
{G}-deficient {S} had reduced numbers of {C}.
a heterozygous missense mutation of {G} segregated with {E} in this family.
coexpression of {G} and {G} led to a synergistic increase in reporter activity.
{G} is cleaved by {G} at a single site, which yields a fragment of {N} kDa.
microarray analysis identified {G}, {G} and {N} other genes as targets of {G}.
serum from patients with {Z} contained autoantibodies to {G}.
the genotype at {G} codon {N} did not affect the clearance of {D}.
{C} express {G} constitutively, and {D} lowers its surface density.
glycosylation of {G} is needed for its transport to the cell surface.
{G} colocalized with {G} in the Golgi apparatus of {L} cells.
{H} infection upregulates {G} in {L} cells through a mechanism that involves {G}.
knockdown of {G}, but not of {G}, impaired replication of {H}.
linkage analysis excluded {G} as the gene responsible for {Z}.
the {G} inhibitor {D} prolonged survival of {S} bearing {L} xenografts.
{D}, which targets {G}, was approved for {Z}.
{N} patients with {Z} received {D} at {N} mg/kg per day for {N} weeks.
{L} and {L} cells were grown in medium with {N}% fetal calf serum.
{C} were isolated from the {T} of adult {S}.
the mean age was {N} years, and {P}% of the patients were women.
a total of {K} patients with {Z} and {K} controls were enrolled.
{M} and {M} were used to analyze {N} biopsies of the {T}.
{B} and {B} were recorded at baseline and after {N} weeks of {D}.
{H} was isolated from {N} of {K} patients with {Z}.
replication of {H} in {L} cells was inhibited by {D} and {D}.
{E} is a common disorder with a strong genetic component.
risk factors for {Z} include {Z}, smoking and high {B}.
{D} crossed the blood-brain barrier in {S}, but the concentration in the {T} was low.
the pharmacokinetics of {D} in {S} were studied after a single dose of {N} mg/kg.
gene expression in the {T} of {S} was analyzed at {N} time points.
gene therapy for {Z} is still at an early stage.
transcription was blocked by {D}, and protein synthesis was stopped with {D}.
binding of {D} to DNA was followed by {M}.
the receptor for {D} has not yet been found in {C}.
growth of {L} tumors in nude mice was slowed by {D} ({P}% inhibition at day {N}).
{M} of the {T} confirmed the diagnosis of {E}.
the phenotype was inherited as an autosomal dominant trait in {N} of {K} pedigrees.
sequence comparison revealed {P}% identity at the amino acid level.
written informed consent was obtained from all {K} participants.
the open reading frame encodes a polypeptide of {K} residues.
data are shown as means of {N} experiments, each done in triplicate.
the reaction was carried out at {N} degrees C for {N} min at pH 7.{N}.
the primary end point was reached by {P}% of the patients in the first group and by {P}% in the second.
no homolog was found in {O} or {O}.
ablation of the {T} in {S} did not change {B}, which suggests that other organs take over its function within {N}
days.
because {D} is toxic to the {T}, the dose was lowered in {K} patients, of whom {N} later relapsed.
although {X} has been studied for many years, it is still not known how it reaches the {T}, or whether {X} is involved.
since {X} is raised in {Z}, and since {X} is not, we suggest that the two are regulated by different mechanisms.
to test this, {C} were transfected with {G}, treated with {D} ({N} nM, {N} h) and examined by {M}.
after {N} h, cells were harvested and {G} (n = {N}), {G} (n = {N}) and total protein were determined.
the following were measured: {X}, {X}, {X} and {X}.
although {G} and {G} share {P}% of their sequence, only the former, which is found mainly in the {T}, was able to
restore growth of the mutant.
in a multicenter trial ({K} patients, {N} centers), treatment with {X} plus {X} did not prolong survival, but patients
with low {V} seemed to benefit.
we have shown before that {G} is induced by {X}; we now show that this induction needs {G}, and that it is lost in
{C}.
the activity of {X} was highest in the {T} ({F} units/mg), lower in the {T}, and below the limit of detection in all
other organs of {S}.
mice lacking {G} or {G} were viable and fertile, whereas mice lacking both died before birth with defects of the {T}.
a screen of {K} clones for proteins that bind {X} yielded {G}, {G} and {N} unknown sequences.
"""

RANGES = {"N": (2, 60), "K": (64, 1900), "P": (3, 97)}
# Slots that take a gene or one of these kinds, and slots that take one kind only.
MIXED = {
    "X": ["chemical"],
    "A": ["chemical"],
    "U": ["chemical", "disease", "line", "method", "agent", "measure"],
    "V": ["measure", "chemical"],
    "W": ["agent"],
    "Q": ["line"],
}
PLAIN = {
    "G": "gene",
    "D": "chemical",
    "Z": "disease",
    "E": "disease",
    "L": "line",
    "C": "type",
    "T": "tissue",
    "S": "species",
    "O": "organism",
    "M": "method",
    "H": "agent",
    "B": "measure",
}
PAIR_SLOTS = "AE"


class Entry(NamedTuple):
    """One thing with all its names; pair is (full name, symbol) where the list gives both."""

    names: list[list[str]]
    pair: tuple[list[str], list[str]] | None


Pools = dict[str, list[Entry]]
Sentence = tuple[tuple[str, ...], tuple[str, ...]]


def tokenize(text: str) -> list[str]:
    """Split like BC2GM: runs of letters and digits, and every other sign by itself; slots stay whole."""
    return re.findall(r"\{[A-Z]\}|\w+|[^\w\s]", text)


def parse_entries(text: str) -> list[Entry]:
    """Read a word list into entries."""
    entries = []
    for item in text.split(";"):
        short, _, full = item.strip().partition("=")
        names = [tokenize(name) for name in short.split("|")]
        pair = (tokenize(full), names[0]) if full else None
        entries.append(Entry([*names, tokenize(full)] if full else names, pair))
    return entries


def parse_templates(text: str) -> list[list[str]]:
    """Read the templates as token lists; only a full stop at a line's end closes one."""
    return [[*tokenize(part), "."] for part in text.split(".\n") if part.strip()]


def split_pools(rng: random.Random, text: str, train: float, held_out: float, shared: float) -> list[list[Entry]]:
    """Share a list's entries out to train, devel/test and unlabelled; shared is the overlap of the first two."""
    entries = parse_entries(text)
    rng.shuffle(entries)
    n_train, n_held_out, n_shared = (round(part * len(entries)) for part in (train, held_out, shared))
    start = n_train - n_shared
    return [entries[:n_train], entries[start : start + n_held_out], entries[start:]]


def make_pools(rng: random.Random) -> tuple[Pools, Pools, Pools]:
    """Split every list; the result holds the pools of train, of devel/test and of the unlabelled text."""
    others = {
        "chemical": CHEMICALS,
        "disease": DISEASES,
        "line": CELL_LINES,
        "type": CELL_TYPES,
        "tissue": TISSUES,
        "species": SPECIES,
        "organism": ORGANISMS,
        "method": METHODS,
        "agent": AGENTS,
        "measure": MEASURES,
    }
    splits = {"gene": split_pools(rng, GENES, 0.19, 0.37, 0.015)}
    for kind, text in others.items():
        splits[kind] = split_pools(rng, text, 0.25, 0.40, 0.04)
    train, held_out, unlabeled = ({kind: parts[i] for kind, parts in splits.items()} for i in range(3))
    return train, held_out, unlabeled


def iobes(length: int) -> list[str]:
    """Tags of one gene mention."""
    if length == 1:
        return ["S-GENE"]
    return ["B-GENE", *["I-GENE"] * (length - 2), "E-GENE"]


def number(rng: random.Random, slot: str) -> list[str]:
    """A random number for a number slot, tokenised."""
    if slot == "F":
        return ["0", ".", f"{rng.randint(1, 99):02d}"]
    if slot == "I":
        return ["0", ".", rng.choice(["05", "01", "001"])]
    return [str(rng.randint(*RANGES[slot]))]


def fill(rng: random.Random, template: list[str], pools: Pools) -> Sentence:
    """Fill every slot of a template; nothing is named twice in one sentence."""
    tokens: list[str] = []
    tags: list[str] = []
    used: list[Entry] = []
    for part in template:
        slot = part[1] if part.startswith("{") else ""
        if slot and slot in "NKPFI":
            words = number(rng, slot)
        elif not slot:
            words = [part]
        else:
            kind = PLAIN.get(slot) or ("gene" if rng.random() < GENE_SHARE else rng.choice(MIXED[slot]))
            paired = slot in PAIR_SLOTS
            entry = rng.choice([e for e in pools[kind] if e not in used and (e.pair or not paired)])
            used.append(entry)
            names = list(entry.pair) if paired else [rng.choice(entry.names)]
            words = [*names[0], "(", *names[1], ")"] if paired else names[0]
            if kind == "gene":
                tags += [*iobes(len(names[0])), "O", *iobes(len(names[1])), "O"] if paired else iobes(len(words))
        tokens += words
        tags += ["O"] * (len(tokens) - len(tags))
    # A sentence opens with a capital, but symbols such as p53 or mTOR keep their case.
    if tokens[0] == "a" or (len(tokens[0]) > 1 and tokens[0].isalpha() and tokens[0].islower()):
        tokens[0] = tokens[0].capitalize()
    return tuple(tokens), tuple(tags)


def with_lead(rng: random.Random, template: list[str], leads: list[list[str]]) -> list[str]:
    """Sometimes put a lead-in before the template."""
    if len(template) > LEAD_LIMIT or rng.random() >= LEAD_SHARE:
        return template
    lead = rng.choice(leads)
    return [*lead, *template] if lead[-1] == "that" else [*lead, ",", *template]


def stutters(tokens: tuple[str, ...]) -> bool:
    """Whether a word follows itself ("C - reactive protein protein")."""
    return any(a == b and a.isalpha() for a, b in zip(tokens, tokens[1:], strict=False))


def sentences(
    rng: random.Random, templates: list[list[str]], leads: list[list[str]], pools: Pools, seen: set[tuple[str, ...]]
) -> Iterator[Sentence]:
    """Yield new sentences without end, using the templates in turn so that each gets its share."""
    order = list(templates)
    while True:
        rng.shuffle(order)
        for template in order:
            tokens, tags = fill(rng, with_lead(rng, template, leads), pools)
            if tokens not in seen and not stutters(tokens):
                seen.add(tokens)
                yield tokens, tags


def write(path: Path, data: list[Sentence]) -> None:
    """Write plain sentences to a .txt and tagged tokens to a .tsv."""
    if path.suffix == ".txt":
        text = "".join(" ".join(tokens) + "\n" for tokens, _ in data)
    else:
        blocks = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*s, strict=True)) for s in data)
        text = "".join(block + "\n" for block in blocks)
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Write the four files."""
    rng = random.Random(SEED)
    folder = Path(__file__).parents[1] / "src" / "hf_distill" / "quickstart"
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out, unlabeled = make_pools(rng)
    pools = {"train.tsv": train, "devel.tsv": held_out, "test.tsv": held_out, "unlabeled.txt": unlabeled}
    templates = parse_templates(TEMPLATES)
    leads = [tokenize(lead) for lead in LEADS.split(";")]
    rng.shuffle(templates)
    rng.shuffle(leads)
    few_templates = templates[: round(TRAIN_TEMPLATES * len(templates))]
    few_leads = leads[: round(TRAIN_TEMPLATES * len(leads))]
    seen: set[tuple[str, ...]] = set()
    for name, size in SIZES.items():
        chosen = (few_templates, few_leads) if name == "train.tsv" else (templates, leads)
        source = sentences(rng, *chosen, pools[name], seen)
        write(folder / name, [next(source) for _ in range(size)])
        print(f"{folder / name}: {size} sentences")


if __name__ == "__main__":
    main()
